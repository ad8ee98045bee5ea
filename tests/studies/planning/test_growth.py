"""Where a study stands that grows until it is decided."""

import pytest

from studies.planning import describe_growth
from studies.planning.outlook import verdict_outlook
from studies.spec import StudySpec
from tests.support.result_rows import make_study

NONE = dict.fromkeys(("queued", "running", "paused", "succeeded", "failed", "cancelled"), 0)


def growing(seeds: int) -> StudySpec:
    return make_study(seeds="until decided, at most 40").add_seeds(seeds - 8)


@pytest.mark.parametrize(
    ("seeds", "counts", "state", "sentence"),
    [
        (8, {}, "growing", "look 1 of 5: its trials come first; then 8 of at most 40 seeds"),
        (8, {"queued": 16}, "growing", "look 1 of 5: 16 jobs to come until 8 of at most 40 seeds"),
        (
            16,
            {"succeeded": 18, "running": 2, "queued": 12},
            "growing",
            "look 2 of 5, undecided so far: 14 jobs to come until 16 of at most 40 seeds",
        ),
        (
            16,
            {"succeeded": 31, "failed": 1},
            "waiting",
            "look 2 of 5 waits: 1 job failed or cancelled, to be retried; 16 of at most 40 seeds",
        ),
        (
            24,
            {"succeeded": 48},
            "stopped",
            "stopped at look 3 of 5, with 24 of at most 40 seeds: more of them would decide nothing",
        ),
        (40, {"succeeded": 80}, "exhausted", "at its last look, with 40 of at most 40 seeds"),
        (48, {"succeeded": 96}, "exhausted", "at its last look, with 48 of at most 48 seeds"),
    ],
)
def test_a_study_says_where_it_stands(
    seeds: int, counts: dict[str, int], state: str, sentence: str
) -> None:
    growth = describe_growth(growing(seeds), {**NONE, **counts})
    assert growth is not None
    assert (growth.state, growth.sentence) == (state, sentence)


def test_a_study_of_fixed_seeds_has_nowhere_to_stand() -> None:
    assert describe_growth(make_study(), NONE) is None


def test_a_plan_says_at_which_looks() -> None:
    outlook = verdict_outlook(growing(8))
    assert outlook.possible
    assert outlook.sentence.startswith("8 to 40 seeds: after 8, 16, 24, 32 and 40 the comparisons")
