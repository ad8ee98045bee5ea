"""How much memory a job takes, and may take: of its GPU, or on a CPU of its process."""

import re
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")
#: What a process takes of a GPU beside what torch counts (its context, kernels), where nobody tells, and at least.
CONTEXT_BYTES = 512 * 2**20


def limit(device: torch.device, booked_bytes: int | None) -> None:
    """From here on the process may take no more of its GPU than this (None: all of it): who needs more runs out of
    memory, and not those beside it.

    What the process takes beside torch is not held to anything: beyond `CONTEXT_BYTES` it comes on top.
    """
    if device.type != "cuda" or (booked_bytes is None and not _has_context()):
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(_share(booked_bytes, total), device)


def _share(booked_bytes: int | None, total_bytes: int) -> float:
    """Of the GPU's memory, for torch."""
    if booked_bytes is None:
        return 1.0
    return min(1.0, max(0, booked_bytes - CONTEXT_BYTES) / total_bytes)


def reset_peak(device: torch.device) -> None:
    """From here on the next job counts: a process trains many."""
    if device.type == "cuda":
        # Before its first job a process has no CUDA context, and nothing to reset.
        if _has_context():
            # What the job before left to the allocator is none of this one's.
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # What proc(5) calls the peak resident set size becomes the present one.
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:  # Not on every system; then the peak is that of all jobs so far.
        return


def read_peak(device: torch.device, process_bytes: int | None = None) -> int | None:
    """In bytes, of the whole process; None where nothing tells. `process_bytes`: what it takes of its GPU now, by the
    driver's count."""
    if device.type == "cuda":
        if not _has_context():
            return None
        beside = (process_bytes or 0) - torch.cuda.memory_reserved(device)
        return torch.cuda.max_memory_reserved(device) + max(CONTEXT_BYTES, beside)
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (_PROCESS / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def release_cache(device: torch.device) -> None:
    """What torch keeps of a GPU for the next job: in a container, where processes can't be told apart, it would count as
    somebody else's once the lease is gone."""
    if device.type == "cuda" and _has_context():
        torch.cuda.empty_cache()


def read_used(device: torch.device) -> int | None:
    """Of its GPU, now; None on a CPU."""
    if device.type != "cuda" or not _has_context():
        return None
    return torch.cuda.memory_reserved(device) + CONTEXT_BYTES


def _has_context() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
