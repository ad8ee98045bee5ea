"""The GPUs of this host, and who uses their memory: as the driver tells it, or a file for tests and demonstrations."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import psutil
import structlog
import torch
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from store.hosts import GpuMemory
from worker.settings import Settings

log = structlog.get_logger(__name__)

#: One of these exists wherever an NVIDIA driver is reachable (the second: Windows' Linux subsystem).
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
#: A process outside any container has this one, whose ids are those that the driver knows.
INITIAL_NAMESPACE = "pid:[4026531836]"

# A process of its own asks CUDA: a driver initialised here would be broken in every forked child.
QUESTION = """
import json, torch
found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
print(json.dumps([[one.name, str(getattr(one, "uuid", ""))] for one in found]))
"""


@dataclass(frozen=True, slots=True)
class Gpu:
    """`number`: by which CUDA knows it; `uuid`: by which the driver does. `memory_bytes`: None where it isn't measured."""

    number: int
    name: str
    uuid: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Of a GPU, now. `by_process`: by their ids; None where those that the driver knows mean nothing here."""

    total_bytes: int
    used_bytes: int
    by_process: Mapping[int, int] | None


class Gpus(Protocol):
    """Where GPUs are, and how their memory is measured."""

    def find(self) -> Sequence[Gpu]:
        """All that CUDA_VISIBLE_DEVICES leaves visible."""

    def read(self, gpu: Gpu) -> MemoryUse | None:
        """None where nothing answers."""


def make_gpus(settings: Settings) -> Gpus:
    return DriverGpus() if settings.fake_gpus is None else FakeGpus(settings.fake_gpus)


#: Held while NVML is in use, and while the process forks: what NVML has locked would stay so in the child.
_in_use = threading.Lock()
os.register_at_fork(
    before=_in_use.acquire, after_in_parent=_in_use.release, after_in_child=_in_use.release
)


class DriverGpus:
    """CUDA's, measured by NVML (the library behind `nvidia-smi`)."""

    def find(self) -> Sequence[Gpu]:
        gpus = [Gpu(number, name, uuid, None) for number, (name, uuid) in enumerate(_ask_cuda())]
        return [self._measured(gpu) for gpu in gpus]

    def _measured(self, gpu: Gpu) -> Gpu:
        if (use := self.read(gpu)) is None:
            log.warning(
                "the memory of a GPU is not measured: it gets one job at a time", gpu=gpu.number
            )
            return gpu
        return Gpu(gpu.number, gpu.name, gpu.uuid, use.total_bytes)

    def read(self, gpu: Gpu) -> MemoryUse | None:
        try:
            import pynvml
        except ImportError:
            return None
        with _in_use:
            try:
                pynvml.nvmlInit()
                try:
                    return _ask_driver(pynvml, gpu)
                finally:
                    pynvml.nvmlShutdown()
            except pynvml.NVMLError as error:
                log.debug("NVML does not answer", gpu=gpu.number, error=str(error))
                return None


def _ask_cuda() -> Sequence[tuple[str, str]]:
    """The names and uuids of its GPUs."""
    if not any(file.exists() for file in DRIVER_FILES):
        return ()
    answer = subprocess.run(
        [sys.executable, "-c", QUESTION], capture_output=True, text=True, timeout=120, check=False
    )
    if answer.returncode:
        log.warning("no GPU is used: CUDA does not answer", stderr=answer.stderr[-2000:])
        return ()
    found: list[tuple[str, str]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _ask_driver(nvml: Any, gpu: Gpu) -> MemoryUse:
    # Not by its number: CUDA_VISIBLE_DEVICES and CUDA's own order don't concern NVML.
    handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{gpu.uuid.removeprefix('GPU-')}")
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    processes = [
        *nvml.nvmlDeviceGetComputeRunningProcesses(handle),
        *nvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
    ]
    # One that does both is in both lists, with all that it uses.
    by_process = {one.pid: one.usedGpuMemory for one in processes}
    # Without the right to know, NVML gives no numbers.
    is_known = is_outside_containers() and None not in by_process.values()
    return MemoryUse(
        int(memory.total), int(memory.total - memory.free), by_process if is_known else None
    )


def is_outside_containers() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == INITIAL_NAMESPACE
    except OSError:
        return False


class FakeGpu(BaseModel):
    """One of the list in the file of `NORMLAB_FAKE_GPUS`; others use `foreign_bytes` of it."""

    name: Annotated[str, Field(min_length=1)] = "a fake GPU"
    memory_bytes: Annotated[int, Field(gt=0)]
    foreign_bytes: Annotated[int, Field(ge=0)] = 0


class FakeGpus:
    """As a file says, which is read again each time: what others use may change. Jobs train on the CPU."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def find(self) -> Sequence[Gpu]:
        return [
            Gpu(number, one.name, str(number), one.memory_bytes)
            for number, one in enumerate(self._read())
        ]

    def read(self, gpu: Gpu) -> MemoryUse | None:
        try:
            fake = self._read()[gpu.number]
        except (OSError, ValidationError, IndexError):
            return None
        return MemoryUse(fake.memory_bytes, fake.foreign_bytes, {})

    def _read(self) -> list[FakeGpu]:
        return TypeAdapter(list[FakeGpu]).validate_json(self._file.read_bytes())


class GpuWatch:
    """What the host says of its measured GPUs, and whose memory it is. `worker`: its parent process, from which all
    that runs its jobs descends."""

    def __init__(self, gpus: Gpus, found: Sequence[Gpu], worker: int) -> None:
        self._gpus = gpus
        self._measured = {gpu.number: gpu for gpu in found if gpu.memory_bytes is not None}
        self._worker = worker
        self._silent: set[int] = set()

    def measures(self, device: tuple[str, int] | None) -> bool:
        return device is not None and device[0] == "cuda" and device[1] in self._measured

    def read(self) -> Sequence[GpuMemory]:
        return [self._describe(gpu, self._gpus.read(gpu)) for gpu in self._measured.values()]

    def _describe(self, gpu: Gpu, use: MemoryUse | None) -> GpuMemory:
        total = gpu.memory_bytes or 0
        if use is None:
            if gpu.number not in self._silent:
                log.warning(
                    "no job starts on a GPU whose memory is not measured any more", gpu=gpu.number
                )
            self._silent.add(gpu.number)
            # As if others used all of it.
            return GpuMemory(gpu.number, total, total, 0)
        if gpu.number in self._silent:
            log.info("the memory of a GPU is measured again", gpu=gpu.number)
            self._silent.remove(gpu.number)
        return GpuMemory(gpu.number, total, use.used_bytes, own_bytes(use, self._worker))

    def process_bytes(self, device: torch.device) -> int | None:
        """What this process takes of it; None where nobody tells."""
        gpu = self._measured.get(device.index or 0) if device.type == "cuda" else None
        use = self._gpus.read(gpu) if gpu is not None else None
        return use.by_process.get(os.getpid()) if use is not None and use.by_process else None


def own_bytes(use: MemoryUse, worker: int) -> int | None:
    """What the worker's processes take; None where they can't be told from others'."""
    if use.by_process is None:
        return None
    return sum(count for process, count in use.by_process.items() if _descends(process, worker))


def _descends(process: int, ancestor: int) -> bool:
    try:
        known = psutil.Process(process)
        return ancestor in (process, *(one.pid for one in known.parents()))
    except psutil.Error:
        return False
