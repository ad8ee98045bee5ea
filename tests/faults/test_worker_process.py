"""A worker's parent and children at work: jobs run, are wished otherwise, and are put down at a drain."""

import time

import pytest
from house import House, long_training, make_spec


def test_a_job_runs_to_success(house: House) -> None:
    house.start()
    (job_id,) = house.submit(make_spec())
    job = house.wait_for_success(job_id)
    assert job.reason == "completed"
    assert [epoch.epoch for epoch in house.epochs(job_id)] == [1, 2, 3]
    assert 0 < job.metrics["test_accuracy"] <= 1
    assert [attempt.end for attempt in house.attempts(job_id)] == ["completed"]
