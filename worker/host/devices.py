"""Which devices this host has and how many jobs each may run at once, found without touching CUDA."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.host.gpus import Gpu
from worker.settings import Settings

#: Jobs at once on a GPU whose memory is measured, at most: more than a few hardly gain from each other's pauses.
MEASURED_SLOTS = 4


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device as `store.jobs.leases.register_worker` takes it; `memory_bytes`: None where it isn't measured."""

    kind: Literal["cpu", "cuda"]
    number: int
    name: str
    slots: int
    memory_bytes: int | None = None


def find_devices(settings: Settings, gpus: Sequence[Gpu]) -> tuple[HostDevice, ...]:
    """The CPU, then the GPUs; those without slots left out."""
    devices = [HostDevice("cpu", 0, _processor_name(), _cpu_slots(settings))]
    devices += [
        HostDevice("cuda", one.number, one.name, _gpu_slots(settings, one), one.memory_bytes)
        for one in gpus
    ]
    return tuple(device for device in devices if device.slots)


def _cpu_slots(settings: Settings) -> int:
    if settings.cpu_slots is not None:
        return settings.cpu_slots
    return max(1, len(os.sched_getaffinity(0)) // settings.cpu_threads)


def _gpu_slots(settings: Settings, gpu: Gpu) -> int:
    if settings.gpu_slots is not None:
        return settings.gpu_slots
    return 1 if gpu.memory_bytes is None else MEASURED_SLOTS


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
