"""What a job has taken of memory, and may take; CUDA is imitated, for there is no GPU here."""

from types import SimpleNamespace

import pytest
import torch

from worker.execution import memory

GIB = 2**30


def test_the_peak_is_that_of_the_job_and_not_of_those_before() -> None:
    device = torch.device("cpu")
    held = torch.ones(100_000_000, dtype=torch.uint8)
    before = memory.read_peak(device)
    del held

    memory.reset_peak(device)

    after = memory.read_peak(device)
    assert before is not None
    assert after is not None
    assert after < before - 50_000_000


def test_on_a_shared_gpu_torch_gets_what_is_booked_but_for_the_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8 * GIB)
    )
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda share, device: shares.append((share, device.index)),
    )
    for booked in (2 * GIB + memory.CONTEXT_BYTES, None, 100 * GIB, 1):
        memory.limit(torch.device("cuda", 3), booked)
    memory.limit(torch.device("cpu"), GIB)
    assert shares == [(0.25, 3), (1.0, 3), (1.0, 3), (0.0, 3)]


@pytest.mark.parametrize(
    ("device", "has_context", "count"), [("cuda", True, 1), ("cuda", False, 0), ("cpu", True, 0)]
)
def test_what_torch_keeps_of_a_gpu_is_released_after_a_job(
    monkeypatch: pytest.MonkeyPatch, device: str, has_context: bool, count: int
) -> None:
    released = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: has_context)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append(True))
    memory.release_cache(torch.device(device))
    assert len(released) == count


def test_a_process_that_has_used_no_gpu_need_not_be_let_have_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    memory.limit(torch.device("cuda", 0), None)
    assert memory.read_peak(torch.device("cuda", 0)) is None
    assert memory.read_used(torch.device("cuda", 0)) is None


@pytest.mark.parametrize(
    ("in_all", "beside"),
    [(None, memory.CONTEXT_BYTES), (GIB + 100, memory.CONTEXT_BYTES), (2 * GIB, GIB)],
)
def test_the_peak_on_a_gpu_is_that_of_the_whole_process(
    monkeypatch: pytest.MonkeyPatch, in_all: int | None, beside: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: GIB)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 3 * GIB)
    assert memory.read_peak(torch.device("cuda", 0), in_all) == 3 * GIB + beside
    assert memory.read_used(torch.device("cuda", 0)) == GIB + memory.CONTEXT_BYTES
