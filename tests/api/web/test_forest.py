"""Where the marks of a forest plot lie."""

import pytest

from api.web.forest import LEFT, RIGHT, WIDTH, make_forest
from studies.comparison import Difference


def difference(mean: float, low: float, high: float) -> Difference:
    return Difference(n=2, mean=mean, interval=(low, high), p_value=None)


def test_differences_lie_in_their_order_around_zero() -> None:
    forest = make_forest(
        "test_accuracy",
        [("a", difference(-0.02, -0.03, -0.01)), ("b", difference(0.01, 0.0, 0.02))],
    )
    assert forest is not None
    worse, better = forest.rows
    assert worse.ends is not None
    assert better.ends is not None
    assert LEFT < worse.ends[0] < worse.mean < worse.ends[1] < forest.zero < better.mean
    assert better.ends == (pytest.approx(forest.zero), pytest.approx(WIDTH - RIGHT, rel=0.05))
    assert worse.words == "a: -2 (-3 to -1)"
    assert worse.beyond == better.beyond == (False, False)


def test_the_axis_of_a_share_ends_where_shares_do() -> None:
    """The interval of two seeds may be far wider, and its marks say that it goes on."""
    wide = difference(0.1, -1.4, 0.6)
    forest = make_forest("test_accuracy", [("wide", wide)])
    assert forest is not None
    [row] = forest.rows
    assert row.ends is not None
    assert (row.ends[0], row.beyond) == (LEFT, (True, False))
    assert row.words == "wide: +10 (-140 to +60)"
    assert all(-100 <= float(words) <= 100 for _, words in forest.ticks)
    # A loss has no such ends.
    free = make_forest("test_loss", [("wide", wide)])
    assert free is not None
    assert free.rows[0].beyond == (False, False)
