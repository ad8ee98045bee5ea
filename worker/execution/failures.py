"""What an exception means for the job that raised it and for the process it was raised in."""

import errno
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch

from trainer.errors import RankOutOfMemory
from trainer.plugins import PluginError
from worker.execution.space import Space

OUT_OF_MEMORY_WORDS = ("out of memory", "defaultcpuallocator", "can't allocate memory")
#: A full disk, a full share of it, one that takes nothing any more.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
CUDA_WORDS = ("cuda error", "cublas_status", "cudnn_status", "nccl error")


@dataclass(frozen=True, slots=True)
class Failure:
    """`poisoned`: the process holds memory or a device in a state that only its end sets right.

    `final`: another attempt would fail just the same.
    """

    reason: Literal["oom", "disk", "error"]
    text: str
    poisoned: bool = False
    final: bool = False


def judge(error: Exception, host: str, space: Space) -> Failure:
    """As `classify_exception`; of a disk without room, with the host and what it has left."""
    failure = classify_exception(error)
    full = disk_error(error)
    if failure.reason != "disk" or full is None:
        return failure
    # Measured now: what the job had begun to write is gone again.
    what = f"host {host} has no room for the job: {full.strerror or full}"
    return replace(failure, text=f"{what} (afterwards {space.describe()})\n\n{failure.text}")


def classify_exception(error: Exception) -> Failure:
    """Sort by the error itself or whatever caused it; the text is the whole traceback, but of a plugin that cannot be used
    what its error says."""
    text = "".join(traceback.format_exception(error))
    causes = tuple(_causes(error))
    if any(map(is_out_of_memory, causes)):
        return Failure("oom", text, poisoned=True)
    if disk_error(error) is not None:
        return Failure("disk", text)
    if isinstance(error, PluginError):
        return Failure("error", str(error), final=True)
    return Failure("error", text, poisoned=any(map(_is_device_error, causes)))


def disk_error(error: BaseException) -> OSError | None:
    """The error of a disk without room, itself or the cause of this one."""
    errors = (cause for cause in _causes(error) if isinstance(cause, OSError))
    return next(filter(_is_full_disk, errors), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError | RankOutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in OUT_OF_MEMORY_WORDS
    )


def _is_full_disk(error: OSError) -> bool:
    # numpy gives the error of a file that was cut short no number.
    was_cut_short = error.errno is None and re.search(r"\d+ requested and \d+ written", str(error))
    return bool(was_cut_short) or error.errno in DISK_ERRORS


def _is_device_error(error: BaseException) -> bool:
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in CUDA_WORDS
    )
