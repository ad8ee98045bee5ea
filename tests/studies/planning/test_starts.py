"""When waiting jobs start: each takes the slot that is free first."""

import pytest

from studies.planning import Turn, expect_starts

ANY, CPU, GPU = (Turn(kind, 1, 10.0) for kind in (None, "cpu", "cuda"))
UNKNOWN = Turn("cpu", 1, None)
BOTH = Turn("cuda", 2, 10.0)


@pytest.mark.parametrize(
    ("queue", "slots", "starts"),
    [
        ([CPU], {"cpu": [0.0]}, [0.0]),
        # One after another on one slot, beside each other on two.
        ([CPU, CPU, CPU], {"cpu": [5.0]}, [5.0, 15.0, 25.0]),
        ([CPU, CPU, CPU], {"cpu": [5.0, 7.0]}, [5.0, 7.0, 15.0]),
        # A job that needs a GPU holds up none that needs none.
        ([GPU, CPU, GPU], {"cpu": [0.0], "cuda": [30.0]}, [30.0, 0.0, 40.0]),
        ([GPU, CPU], {"cpu": [0.0]}, [None, 0.0]),
        # Of two that are free at once a GPU is taken first.
        ([ANY, CPU], {"cpu": [0.0], "cuda": [0.0]}, [0.0, 0.0]),
        # Nobody knows when the slot of a job is free that nothing tells about.
        ([UNKNOWN, CPU], {"cpu": [3.0]}, [3.0, None]),
        ([UNKNOWN, CPU], {"cpu": [3.0, 4.0]}, [3.0, 4.0]),
        # Nor when several devices are free together, or what is left then.
        ([BOTH, GPU, CPU], {"cpu": [0.0], "cuda": [0.0, 1.0]}, [None, None, 0.0]),
        ([CPU], {}, [None]),
        ([], {"cpu": [0.0]}, []),
    ],
)
def test_jobs_start_when_a_slot_is_free(
    queue: list[Turn], slots: dict[str, list[float]], starts: list[float | None]
) -> None:
    assert expect_starts(queue, slots) == starts


def test_slots_that_are_given_stay_as_they_are() -> None:
    slots = {"cpu": [3.0, 1.0]}
    expect_starts([CPU, CPU], slots)
    assert slots == {"cpu": [3.0, 1.0]}


def test_who_has_reached_a_limit_starts_when_it_allows() -> None:
    held = Turn("cpu", 1, 10.0, "ada")
    # Slots are free at once, but only one of hers may run, from 5 on.
    assert expect_starts([CPU, held, held], {"cpu": [0.0, 0.0, 0.0]}, {"ada": [5.0]}) == [
        0.0,
        5.0,
        15.0,
    ]
    assert expect_starts([held, CPU], {"cpu": [0.0]}, {"ada": []}) == [None, 0.0]
