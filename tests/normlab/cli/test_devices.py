"""`normlab devices` and `normlab workers`, against a service that says what it is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.normlab.client.test_reports import run, script, url
from tests.normlab.client.test_transport import Script

__all__ = ["script", "url"]

GPU: dict[str, Any] = {
    "id": 3, "host": "alpha", "kind": "cuda", "number": 0, "owner": "ada", "why": "a demonstration",
    "ends_at": "2026-01-31T14:00:00Z",
}  # fmt: skip
HOST: dict[str, Any] = {**GPU, "id": 4, "kind": None, "number": None}


def test_a_device_is_reserved_by_its_kind_and_number(
    url: str, script: Script, tmp_path: Path
) -> None:
    script.say(200, {"status": "ready"})
    script.say(201, GPU)
    done = run(url, tmp_path, "devices", "reserve", "alpha", "cuda:0", "--for", "2h", "--why", "x")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().startswith("alpha cuda:0 is reserved until 2026-01-31 ")
    method, address, _, body = script.seen[-1]
    assert (method, address) == ("POST", "/api/v1/reservations")
    assert json.loads(body) == {
        "host": "alpha", "kind": "cuda", "number": 0, "lasts": "2h", "why": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "released"),
    [(("devices", "release", "alpha", "cuda:0"), 3), (("workers", "release", "alpha"), 4)],
)
def test_what_is_released_is_found_among_the_reservations(
    url: str, script: Script, tmp_path: Path, arguments: tuple[str, ...], released: int
) -> None:
    script.say(200, {"items": [HOST, GPU], "next_cursor": None})
    script.say(200, {"status": "ready"})
    script.say(204, b"")
    done = run(url, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert script.seen[-1][:2] == ("DELETE", f"/api/v1/reservations/{released}")


@pytest.mark.parametrize("verb", [("reserve", "--for", "1h"), ("release",)])
def test_what_names_no_device_is_refused_before_anything_is_asked(
    url: str, script: Script, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    done = run(url, tmp_path, "devices", verb[0], "alpha", "gpu0", *verb[1:])
    assert done.returncode == 1
    assert "a device is a kind and a number, like cuda:0, but got 'gpu0'" in done.stderr.decode()
    assert script.seen == []


def test_of_a_gpu_it_is_listed_how_much_memory_is_booked_and_used_by_others(
    url: str, script: Script, tmp_path: Path
) -> None:
    memory = {"total_bytes": 24e9, "booked_bytes": 3e9, "foreign_bytes": 2e9, "free_bytes": 19e9}
    gpu = {
        "host": "alpha", "kind": "cuda", "number": 0, "name": "a GPU", "slots": 4, "held": [],
        "reserved": None, "memory": memory,
    }  # fmt: skip
    script.say(200, {"items": [gpu], "next_cursor": None})
    done = run(url, tmp_path, "devices", "-o", "csv")
    assert done.returncode == 0, done.stderr.decode()
    words = "19.0 GB of 24.0 GB free, 3.0 GB booked, 2.0 GB used by others"
    assert words in done.stdout.decode()

    worker = {"host": "alpha", "claims": True, "slots": 5, "busy": 1, "problems": [], "gpus": [gpu]}
    script.say(200, {"items": [worker], "next_cursor": None})
    done = run(url, tmp_path, "workers", "-o", "csv")
    assert f"cuda:0 {words}" in done.stdout.decode(), done.stderr.decode()
