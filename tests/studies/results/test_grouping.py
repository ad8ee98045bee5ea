"""Groups of result rows: who is in which, in what order, and what they score."""

from typing import Any

import pytest

from store.db.errors import BadQuery
from studies.results.grouping import arrange, group_rows


def row(
    value: float | None, status: str = "succeeded", reason: str = "completed", **by: Any
) -> Any:
    facts = {"chance_accuracy": 0.1}
    return {"status": status, "reason": reason, "metrics": {"test_accuracy": value, "test_loss": value},
            "facts": facts, **by}  # fmt: skip


def test_groups_come_by_their_values_numbers_before_texts_and_missing_ones_last() -> None:
    values = ["b", None, 10, [1, 2], 9, "a", [], True]
    groups = group_rows([row(0.5, x=value) for value in values], ["x"], "test_accuracy")
    assert [group.by["x"] for group in groups] == [True, 9, 10, "a", "b", [1, 2], None, []]


def test_rows_are_together_only_if_all_their_values_are_equal() -> None:
    pairs = [(1, "x"), (1, "y"), (1, "x"), ("1", "x")]
    groups = group_rows([row(0.5, a=a, b=b) for a, b in pairs], ["b", "a"], "test_accuracy")
    assert [(group.by, group.jobs) for group in groups] == [
        ({"b": "x", "a": 1}, 2), ({"b": "x", "a": "1"}, 1), ({"b": "y", "a": 1}, 1),
    ]  # fmt: skip


def test_nothing_is_dropped() -> None:
    rows = [
        row(0.5, x=1),
        row(None, reason="diverged", x=1),
        row(0.9, status="failed", reason="oom", x=1),
        row(0.9, status="cancelled", reason="cancelled", x=1),
        row(0.9, status="running", x=1),
        row(0.9, status="paused", x=1),
    ]
    [group] = group_rows(rows, ["x"], "test_accuracy")
    assert (group.jobs, group.n, group.mean) == (6, 2, pytest.approx(0.3))
    assert (group.diverged, group.failed, group.cancelled, group.pending) == (1, 1, 1, 2)


def test_the_best_loss_is_the_lowest() -> None:
    [group] = group_rows([row(0.5, x=1), row(0.7, x=1)], ["x"], "test_loss")
    assert (group.best, group.worst) == (0.5, 0.7)


def test_one_value_has_no_spread_and_none_no_statistics() -> None:
    one, none = group_rows([row(0.5, x=1), row(None, x=2)], ["x"], "test_accuracy")
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
    groups = group_rows([row(0.5, x=1), row(None, x=2), row(0.7, x=3)], ["x"], "test_accuracy")
    assert [group.by["x"] for group in arrange(groups, order)] == xs


@pytest.mark.parametrize(("order", "position"), [("mode", 0), ("-y", 1), ("  -", 3), ("", 0)])
def test_an_order_that_groups_do_not_have_is_refused(order: str, position: int) -> None:
    groups = group_rows([row(0.5, x=1)], ["x"], "test_accuracy")
    with pytest.raises(BadQuery, match="they have x, jobs, n, mean") as caught:
        arrange(groups, order)
    assert caught.value.position == position
