"""What a job has taken of memory."""

import torch

from worker.execution import memory


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
