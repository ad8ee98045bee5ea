"""Groups of result rows: who is in which, in what order, and what they score."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from store.db.errors import BadQuery
from store.results import ResultGroup
from studies.results.grouping import arrange, describe_groups


def group(*scores: float, seeds: Sequence[int] | None = None, **by: Any) -> ResultGroup:
    return ResultGroup(
        by,
        max(1, len(scores)),
        scores,
        seeds=range(len(scores)) if seeds is None else seeds,
        diverged=0,
        failed=0,
        cancelled=0,
        pending=not scores,
    )


def test_groups_come_by_their_values_numbers_before_texts_and_missing_ones_last() -> None:
    values = ["b", None, 10, [1, 2], 9, "a", [], True]
    groups = describe_groups([group(0.5, x=value) for value in values], "test_accuracy")
    assert [one.by["x"] for one in groups] == [True, 9, 10, "a", "b", [1, 2], None, []]


def test_the_best_loss_is_the_lowest() -> None:
    [one] = describe_groups([group(0.5, 0.7, x=1)], "test_loss")
    assert (one.best, one.worst) == (0.5, 0.7)


def test_a_group_of_several_values_has_their_number_and_their_mean() -> None:
    [one] = describe_groups([group(0.1, 0.5, x=1)], "test_accuracy")
    assert (one.n, one.mean) == (2, pytest.approx(0.3))


def test_jobs_of_one_seed_are_one_value_of_the_interval() -> None:
    scores = (0.1, 0.3, 0.5, 0.9)
    apart, repeated = describe_groups(
        [group(*scores, x=1), group(*scores, x=2, seeds=[0, 0, 1, 1])], "test_accuracy"
    )
    assert apart.interval == pytest.approx(tuple(interval_of(scores)))
    assert repeated.interval == pytest.approx(tuple(interval_of((0.2, 0.7))))
    assert (repeated.n, repeated.mean, repeated.std) == (4, apart.mean, apart.std)


def interval_of(values: Sequence[float]) -> Any:
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def test_one_value_has_no_spread_and_none_no_statistics() -> None:
    one, none = describe_groups([group(0.5, x=1), group(x=2)], "test_accuracy")
    assert (one.mean, one.median, one.interquartile_mean, one.std, one.interval) == (
        0.5, 0.5, 0.5, None, None,
    )  # fmt: skip
    assert (none.n, none.mean, none.median, none.interquartile_mean, none.best) == (
        0, None, None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("order", "xs"),
    [("mean", [1, 3, 2]), ("-mean", [3, 1, 2]), (" -x", [3, 2, 1]), ("n", [2, 1, 3]), ("-failed", [1, 2, 3])],
)  # fmt: skip
def test_groups_are_sorted_with_missing_values_last(order: str, xs: list[int]) -> None:
    groups = describe_groups([group(0.5, x=1), group(x=2), group(0.7, x=3)], "test_accuracy")
    assert [one.by["x"] for one in arrange(groups, order)] == xs


@pytest.mark.parametrize(("order", "position"), [("mode", 0), ("-y", 1), ("  -", 3), ("", 0)])
def test_an_order_that_groups_do_not_have_is_refused(order: str, position: int) -> None:
    groups = describe_groups([group(0.5, x=1)], "test_accuracy")
    with pytest.raises(BadQuery, match="they have x, jobs, n, mean") as caught:
        arrange(groups, order)
    assert caught.value.position == position
