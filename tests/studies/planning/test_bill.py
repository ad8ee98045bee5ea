"""A bill rests on finished jobs of the same shape, and says what it doesn't know."""

from typing import Any

import pytest

from store.results import Taken
from studies.planning import ArmWork, Expected, Turn, add_up, expect, expect_end
from tests.support.factories import make_spec


def arm(jobs: int = 4, steps: int = 100, **parts: Any) -> ArmWork:
    return ArmWork(make_spec(**parts), parameters=1000, steps=steps, jobs=jobs)


def taken(seconds: float, step: int = 50, **changes: Any) -> Taken:
    """Of which one second was start and end."""
    values = {
        "device": "cpu",
        "is_same": False,
        "total_steps": 50,
        "period_seconds": seconds - 1.0,
        "stored_bytes": 1000,
        "memory_bytes": 5_000,
    }
    return Taken(seconds=seconds, step=step, **{**values, **changes})


def seconds(found: Expected | None) -> float:
    assert found is not None
    return found.seconds


def test_jobs_of_the_same_cell_train_as_long_at_the_pace_of_the_latest() -> None:
    # They were stopped after 20 of 100 steps, and a step takes 0.1 s now.
    same = taken(90.0, step=20, is_same=True)
    found = expect(arm(), [taken(6.0), taken(6.0), taken(6.0), same])
    assert found == Expected(pytest.approx(3.0), "same", 4, 1000, 5_000)


def test_a_longer_training_of_the_shape_starts_and_ends_once() -> None:
    # A second for start and end, and 0.1 for each step.
    found = expect(arm(steps=200), [taken(6.0), taken(6.0)])
    assert found is not None
    assert (found.seconds, found.basis) == (pytest.approx(21.0), "shape")


def test_early_stopping_shortens_what_is_expected() -> None:
    stopping = arm(steps=100, early_stopping={"kind": "patience", "patience": 2})
    halfway = [taken(6.0, step=50, total_steps=100)]
    assert seconds(expect(stopping, halfway)) == pytest.approx(6.0)
    assert seconds(expect(arm(steps=100), halfway)) == pytest.approx(11.0)


def test_jobs_on_another_kind_of_device_tell_nothing() -> None:
    on_gpu = taken(1.0, device="cuda")
    assert expect(arm(resources={"device": "cpu"}), [on_gpu]) is None
    assert seconds(expect(arm(steps=50), [on_gpu, taken(9.0)])) == pytest.approx(1.0)
    assert expect(arm(), []) is None


def test_a_bill_adds_up_what_is_known_and_counts_the_rest() -> None:
    known = Expected(10.0, "same", 3, 1000, 5_000)
    guessed = Expected(2.0, "scaled", 1)
    bill = add_up([arm(4), arm(2), arm(3)], [known, guessed, None], reused=5)
    assert (bill.jobs, bill.reused, bill.unknown) == (14, 5, 3)
    assert (bill.device_seconds, bill.basis, bill.finished) == (44.0, "scaled", 4)
    assert (bill.stored_bytes, bill.memory_bytes) == (4000, 5_000)


def test_each_of_a_job_s_devices_is_on_its_bill() -> None:
    bill = add_up([arm(3, resources={"devices": 2})], [Expected(10.0, "same", 3)], reused=0)
    assert bill.device_seconds == 60.0


def test_nothing_known_and_nothing_to_train_are_two_bills() -> None:
    assert add_up([arm(4)], [None], reused=0).device_seconds is None
    assert add_up([arm(0)], [None], reused=4).device_seconds == 0.0


def test_the_end_is_behind_the_queue_or_shared_with_those_who_wait() -> None:
    own = [Turn(None, 1, 10.0)] * 4
    assert expect_end([], own, {"cpu": [0.0, 0.0]}, others=0) == 20.0
    assert expect_end([Turn(None, 1, 30.0)], own, {"cpu": [0.0]}, others=0) == 40.0
    # A thousand jobs ahead of them are one person's, with whom they take turns.
    ahead = [Turn(None, 1, 10.0)] * 1000
    assert expect_end(ahead, own, {"cpu": [0.0]}, others=1) == 80.0
    assert expect_end([], own, {}, others=0) is None
    assert expect_end([], [], {"cpu": [0.0]}, others=0) == 0.0
