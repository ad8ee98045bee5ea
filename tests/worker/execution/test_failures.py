"""What an exception means for a job and for its process."""

import errno

import pytest
import torch

from trainer.errors import RankOutOfMemory
from trainer.plugins import PluginError
from worker.execution.failures import Failure, classify_exception


def judged(error: Exception, cause: Exception | None = None) -> Failure:
    try:
        raise error from cause
    except Exception as raised:
        return classify_exception(raised)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RankOutOfMemory("rank 1 was killed by the kernel: it was out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_ran_out_poisons_the_process(error: Exception) -> None:
    failure = judged(error)
    assert (failure.reason, failure.poisoned, failure.final) == ("oom", True, False)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError("1000 requested and 512 written"),
    ],
    ids=["full", "quota", "read-only", "numpy's"],
)
def test_a_disk_without_room_is_no_fault_of_the_job_whatever_it_was_wrapped_in(
    error: OSError,
) -> None:
    failure = judged(RuntimeError("could not save"), error)
    assert (failure.reason, failure.poisoned, failure.final) == ("disk", False, False)


def test_a_device_error_poisons_the_process() -> None:
    failure = judged(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert (failure.reason, failure.poisoned) == ("error", True)


def test_a_plugin_that_cannot_be_used_ends_its_job_with_what_is_wrong_alone() -> None:
    failure = judged(PluginError("metric plugin:words must give a number but gave a str"))
    assert failure == Failure(
        "error", "metric plugin:words must give a number but gave a str", final=True
    )
    # Memory that ran out while it was used says nothing of the plugin.
    assert judged(PluginError("cannot be loaded"), MemoryError()).reason == "oom"


def test_any_other_exception_is_an_error_with_its_whole_traceback() -> None:
    failure = judged(ValueError("no such thing"), KeyError("groups"))
    assert (failure.reason, failure.poisoned, failure.final) == ("error", False, False)
    assert "KeyError: 'groups'" in failure.text
    assert "ValueError: no such thing" in failure.text
    assert "Traceback" in failure.text
