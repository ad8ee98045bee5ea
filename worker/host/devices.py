"""Which devices this host has and how many jobs each may run at once, found without touching CUDA."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from worker.settings import Settings

log = structlog.get_logger(__name__)

#: One of these exists wherever an NVIDIA driver is reachable (the second: Windows' Linux subsystem).
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))

# A process of its own asks CUDA: a driver initialised here would be broken in every forked child.
QUESTION = """
import json, torch
count = torch.cuda.device_count()
print(json.dumps([torch.cuda.get_device_name(number) for number in range(count)]))
"""


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device as `store.jobs.leases.register_worker` takes it."""

    kind: Literal["cpu", "cuda"]
    number: int
    name: str
    slots: int


def find_devices(settings: Settings) -> tuple[HostDevice, ...]:
    """The CPU, then the GPUs that CUDA_VISIBLE_DEVICES leaves visible; those without slots left out."""
    devices = [HostDevice("cpu", 0, _processor_name(), _cpu_slots(settings))]
    if settings.gpu_slots:
        names = _gpu_names()
        devices += [
            HostDevice("cuda", number, name, settings.gpu_slots)
            for number, name in enumerate(names)
        ]
    return tuple(device for device in devices if device.slots)


def _cpu_slots(settings: Settings) -> int:
    if settings.cpu_slots is not None:
        return settings.cpu_slots
    return max(1, len(os.sched_getaffinity(0)) // settings.cpu_threads)


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _gpu_names() -> Sequence[str]:
    if not any(file.exists() for file in DRIVER_FILES):
        return ()
    answer = subprocess.run(
        [sys.executable, "-c", QUESTION], capture_output=True, text=True, timeout=120, check=False
    )
    if answer.returncode:
        log.warning("no GPU is used: CUDA does not answer", stderr=answer.stderr[-2000:])
        return ()
    names: list[str] = json.loads(answer.stdout.splitlines()[-1])
    return names
