"""What an exception means for the job that raised it and for the process it was raised in."""

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

OUT_OF_MEMORY_WORDS = ("out of memory", "defaultcpuallocator", "can't allocate memory")
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


def judge(error: Exception) -> Failure:
    """Sort by the error itself or whatever caused it; the text is the whole traceback."""
    text = "".join(traceback.format_exception(error))
    causes = tuple(_causes(error))
    if any(map(_is_out_of_memory, causes)):
        return Failure("oom", text, poisoned=True)
    if any(map(_is_full_disk, causes)):
        return Failure("disk", text, final=True)
    return Failure("error", text, poisoned=any(map(_is_device_error, causes)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in OUT_OF_MEMORY_WORDS
    )


def _is_full_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _is_device_error(error: BaseException) -> bool:
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in CUDA_WORDS
    )
