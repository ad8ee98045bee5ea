"""How much memory a job has taken at most: of its GPU, or on a CPU of its process."""

import re
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


def reset_peak(device: torch.device) -> None:
    """From here on the next job counts: a process trains many."""
    if device.type == "cuda":
        # Before its first job a process has no CUDA context, and nothing to reset.
        if _has_context():
            torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # What proc(5) calls the peak resident set size becomes the present one.
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:  # Not on every system; then the peak is that of all jobs so far.
        return


def read_peak(device: torch.device) -> int | None:
    """In bytes; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if _has_context() else None
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (_PROCESS / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _has_context() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
