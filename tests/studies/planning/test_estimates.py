"""Estimates of time rest on finished jobs, or there are none."""

from typing import Any

import pytest

from store.results.pace import FinishedJob
from studies.planning.estimates import ArmWork, estimate
from tests.support.factories import make_spec


def arm(jobs: int = 4, **parts: Any) -> ArmWork:
    return ArmWork(make_spec(**parts), parameters=1000, steps=100, jobs=jobs)


def finished(seconds: float, parameters: int = 1000, device: str = "cpu", **parts: Any) -> Any:
    spec = make_spec(**parts).model_dump(mode="json")
    return FinishedJob(spec, device, parameters, seconds)


def test_jobs_of_the_same_network_data_and_batch_are_the_measure() -> None:
    found = estimate([arm()], [finished(0.01), finished(0.02)], {"cpu": 2})
    assert found is not None
    assert (found.basis, found.jobs, found.slots) == ("measured", 2, 2)
    assert found.work == pytest.approx((4.0, 8.0))
    assert found.wall == pytest.approx((2.0, 4.0))


def test_the_same_norm_counts_before_another_one() -> None:
    others = [finished(0.01), finished(9.0, norm={"kind": "batch"})]
    found = estimate([arm()], others, {"cpu": 1})
    assert found is not None
    assert found.work == pytest.approx((4.0, 4.0))


def test_another_size_gives_a_range_by_parameters_and_examples() -> None:
    other = finished(0.01, parameters=250, model={"name": "mlp", "hidden": [2]})
    found = estimate([arm()], [other], {"cpu": 1})
    assert found is not None
    assert found.basis == "scaled"
    assert found.work == pytest.approx((4.0, 16.0))


def test_a_step_with_two_passes_takes_twice_as_long() -> None:
    sam = {"regularization": [{"kind": "sam"}]}
    other_size = {"model": {"name": "mlp", "hidden": [2]}}
    for finished_job, expected in (
        (finished(0.01), (8.0, 8.0)),
        (finished(0.01, **sam), (4.0, 4.0)),
        (finished(0.01, parameters=250, **other_size), (8.0, 32.0)),
    ):
        found = estimate([arm(**sam)], [finished_job], {"cpu": 1})
        assert found is not None
        assert found.work == pytest.approx(expected)


def test_without_anything_like_it_nothing_is_invented() -> None:
    elsewhere = finished(0.01, model={"name": "cnn"})
    assert estimate([arm()], [elsewhere], {"cpu": 1}) is None
    on_gpu = arm(resources={"device": "cuda"})
    assert estimate([on_gpu], [finished(0.01)], {"cuda": 1}) is None
    assert estimate([arm(), arm(model={"name": "cnn"})], [finished(0.01)], {"cpu": 1}) is None


def test_without_a_worker_there_is_work_but_no_end() -> None:
    found = estimate([arm()], [finished(0.01)], {})
    assert found is not None
    assert found.wall is None
    assert found.work == pytest.approx((4.0, 4.0))
