"""`normlab up --adopt-storage`: an emptied storage becomes the database's before anything uses it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from normlab.cli.stack import up
from normlab.errors import StackError
from normlab.home import Home
from normlab.stack import control, supervisor
from normlab.stack.parts import Part
from normlab.stack.servers import Postgres
from normlab.stack.supervisor import ADOPT_STORAGE, Supervisor


@pytest.mark.parametrize("adopt_storage", [False, True])
def test_the_storage_is_adopted_between_the_migrations_and_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adopt_storage: bool
) -> None:
    for module, name in ((supervisor, "end_leftovers"), (supervisor, "check_ports")):
        monkeypatch.setattr(module, name, lambda home: None)
    monkeypatch.setattr(Postgres, "create_databases", lambda *names: None)
    monkeypatch.setattr(Postgres, "password", lambda *role: "secret")
    made = Supervisor(Home(tmp_path), lambda state: None, adopt_storage=adopt_storage)
    begun: list[str] = []

    def run_once(name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        begun.append(" ".join(arguments[1:]))
        if name == "adopt-storage":
            assert environment["NORMLAB_STORAGE"] == str(tmp_path / "storage")
            assert environment["NORMLAB_DATABASE_URL"].startswith("postgresql+psycopg://normlab:")
            (tmp_path / "logs").mkdir()
            (tmp_path / "logs" / "adopt-storage.log").write_text("Of 4 files, 4 are missing\n")

    def launch(part: Part) -> None:
        begun.append(part.name)

    for step, fake in (("_run_once", run_once), ("_launch", launch)):
        monkeypatch.setattr(made, step, fake)
    monkeypatch.setattr(made._preloads, "start", lambda: None)
    made._start()
    adopted = ["store adopt-storage"] if adopt_storage else []
    expected = ["migrations upgrade", *adopted, "api"]
    first = begun.index("migrations upgrade")
    assert begun[first : first + len(expected)] == expected
    remarks = ["The storage was adopted. Of 4 files, 4 are missing"] if adopt_storage else []
    assert made._state()["remarks"] == remarks


def test_the_detached_supervisor_is_told_to_adopt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    asked: list[bool] = []

    def start(command: list[str], **more: Any) -> None:
        commands.append(command)

    def make(home: Home, show: Any, *, adopt_storage: bool) -> Any:
        asked.append(adopt_storage)
        raise StackError("enough")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(supervisor, "Supervisor", make)
    monkeypatch.setenv("NORMLAB_HOME", str(tmp_path))
    Home(tmp_path).make_folders()
    for adopt_storage in (False, True):
        control._launch_supervisor(Home(tmp_path), adopt_storage=adopt_storage)
        monkeypatch.setattr("sys.argv", commands[-1][2:])
        with pytest.raises(StackError):
            supervisor.main()
    assert [ADOPT_STORAGE in command for command in commands] == [False, True]
    assert asked == [False, True]


def test_nothing_is_adopted_while_the_stack_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_HOME", str(tmp_path))
    with Home(tmp_path).lock(), pytest.raises(StackError, match="`normlab down` first"):
        up(adopt_storage=True)
