"""What a host says of its GPUs' memory; the driver and its library are imitated, for there is no GPU here."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from store.hosts import GpuMemory
from worker.host import gpus as module
from worker.host.devices import find_devices
from worker.host.gpus import DriverGpus, FakeGpus, Gpu, GpuWatch, MemoryUse, own_bytes
from worker.settings import Settings

GB = 10**9


def write(file: Path, *foreign: int) -> Path:
    rows = [{"memory_bytes": 24 * GB, "foreign_bytes": used} for used in foreign]
    file.write_text(json.dumps(rows))
    return file


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE
    ) as process:
        yield process.pid
        process.communicate(b"\n")


def test_what_others_use_of_fake_gpus_may_change(tmp_path: Path) -> None:
    fake = FakeGpus(write(tmp_path / "gpus.json", 0, 3 * GB))
    watch = GpuWatch(fake, fake.find(), os.getpid())
    assert watch.read() == [
        GpuMemory(0, 24 * GB, 0, 0),
        GpuMemory(1, 24 * GB, 3 * GB, 0),
    ]
    write(tmp_path / "gpus.json", 5 * GB, 0)
    assert [one.used_bytes for one in watch.read()] == [5 * GB, 0]


def test_of_a_gpu_that_is_not_measured_any_more_others_use_all(tmp_path: Path) -> None:
    fake = FakeGpus(write(tmp_path / "gpus.json", 0))
    watch = GpuWatch(fake, fake.find(), os.getpid())
    (tmp_path / "gpus.json").write_text("[{")
    with capture_logs() as lines:
        assert [watch.read(), watch.read()] == [[GpuMemory(0, 24 * GB, 24 * GB, 0)]] * 2
        write(tmp_path / "gpus.json", 0)
        assert watch.read() == [GpuMemory(0, 24 * GB, 0, 0)]
    assert [line["event"] for line in lines] == [
        "no job starts on a GPU whose memory is not measured any more",
        "the memory of a GPU is measured again",
    ]


def test_the_workers_own_processes_are_those_that_descend_from_it(child: int) -> None:
    by_process = {os.getpid(): 1, child: 2, os.getppid(): 4, 2**22 + 1: 8}
    assert own_bytes(MemoryUse(24, 15, by_process), os.getpid()) == 3
    assert own_bytes(MemoryUse(24, 15, None), os.getpid()) is None


class Nvml:
    """A library that knows one GPU."""

    NVMLError = ValueError

    def __init__(self, *processes: tuple[int, int | None]) -> None:
        self.processes = [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes]
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-ab-cd":
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(total=24 * GB, free=20 * GB)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> Any:
        return self.processes

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: str) -> Any:
        return self.processes[:1]


@pytest.mark.parametrize(
    ("processes", "is_outside", "by_process"),
    [
        ([(7, GB), (8, 2 * GB)], True, {7: GB, 8: 2 * GB}),
        # Without the right to know whose it is, and in a container, where the ids are others.
        ([(7, GB), (8, None)], True, None),
        ([(7, GB)], False, None),
    ],
)
def test_the_driver_tells_what_processes_use(
    monkeypatch: pytest.MonkeyPatch, processes: Any, is_outside: bool, by_process: Any
) -> None:
    nvml = Nvml(*processes)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(module, "is_outside_containers", lambda: is_outside)
    gpu = Gpu(0, "a GPU", "ab-cd", 24 * GB)
    assert DriverGpus().read(gpu) == MemoryUse(24 * GB, 4 * GB, by_process)
    assert DriverGpus().read(Gpu(1, "another", "ef", None)) is None
    assert nvml.open == 0


def test_a_gpu_whose_memory_is_not_measured_gets_one_job_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.setattr(module, "_ask_cuda", lambda: [("a GPU", "ab-cd"), ("a slice of one", "ef")])
    with capture_logs() as lines:
        found = DriverGpus().find()
    assert [
        line["event"].partition(":")[0] for line in lines if line["log_level"] == "warning"
    ] == ["the memory of a GPU is not measured"]

    def slots(**more: Any) -> list[tuple[int, int | None]]:
        settings = Settings(database_url="", redis_url="", storage=tmp_path, cpu_slots=0, **more)
        return [(one.slots, one.memory_bytes) for one in find_devices(settings, found)]

    assert slots() == [(4, 24 * GB), (1, None)]
    assert slots(gpu_slots=2) == [(2, 24 * GB), (2, None)]
    assert slots(gpu_slots=0) == []


def test_without_the_library_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert DriverGpus().read(Gpu(0, "a GPU", "ab-cd", None)) is None
