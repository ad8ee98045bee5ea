"""Which process is taken for the API of a local stack, and so gets its token."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from normlab.home import Home, seconds_after_boot
from normlab.stack.daemons import Daemon
from normlab.stack.parts import Part


@pytest.fixture
def port() -> Iterator[int]:
    """Where this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def write_state(folder: Path, port: int, **changes: Any) -> Home:
    """A home whose `stack.json` calls this process its API."""
    began = seconds_after_boot(psutil.Process())
    row = {"name": "api", "pid": os.getpid(), "seconds_after_boot": began, **changes}
    state = {"api_url": f"http://127.0.0.1:{port}", "processes": [row]}
    (folder / "stack.json").write_text(json.dumps(state))
    return Home(folder)


def test_a_stack_json_that_a_crash_has_left_proves_nothing(tmp_path: Path, port: int) -> None:
    home = write_state(tmp_path, port)
    assert not home.is_served()
    with home.lock():
        assert home.is_served()
    assert not home.is_served()


@pytest.mark.parametrize("began", [None, 1.0])
def test_a_process_that_got_the_id_of_the_api_is_not_the_api(
    tmp_path: Path, port: int, began: float | None
) -> None:
    home = write_state(tmp_path, port, seconds_after_boot=began)
    with home.lock():
        assert not home.is_served()


def test_a_process_of_another_user_is_not_the_api(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_state(tmp_path, port)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with home.lock():
        assert not home.is_served()


def test_a_part_says_when_its_process_began(tmp_path: Path) -> None:
    daemon = Daemon(["sleep", "60"], os.environ, tmp_path, tmp_path / "log")
    part = Part("api", daemon)
    daemon.start()
    try:
        part.watch(tmp_path / "log")
        began = seconds_after_boot(psutil.Process(daemon.pid))
        assert part.describe()["seconds_after_boot"] == began
    finally:
        daemon.stop()
