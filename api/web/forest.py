"""A forest plot as coordinates: differences to one baseline with their intervals, on one axis with zero."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from studies.comparison import Difference
from studies.stats import is_share

#: Of the picture, in its own units: no wider than a phone, so that names stand above their intervals.
WIDTH, LEFT, RIGHT, ROW, TOP = 480, 16, 16, 46, 4


@dataclass(frozen=True, slots=True)
class Row:
    """A difference: its height in the picture, where its mean lies, and the interval's ends where it has one; `beyond`:
    whether it goes on to the left and to the right of the picture."""

    name: str
    y: float
    mean: float
    ends: tuple[float, float] | None
    beyond: tuple[bool, bool]
    decision: str
    words: str


@dataclass(frozen=True, slots=True)
class Forest:
    """`zero`: where the baseline lies; `ticks`: positions on the axis and what stands there."""

    rows: Sequence[Row]
    height: float
    zero: float
    ticks: Sequence[tuple[float, str]]
    unit: str


def make_forest(metric: str, differences: Iterable[tuple[str, Difference | None]]) -> Forest | None:
    """By name; None where none has a difference yet."""
    found = [
        (name, difference)
        for name, difference in differences
        if difference is not None and difference.mean is not None
    ]
    if not found:
        return None
    factor = 100.0 if is_share(metric) else 1.0
    values = [0.0]
    for _, difference in found:
        values += [difference.mean or 0.0, *(difference.interval or ())]
    low, high = min(values) * factor, max(values) * factor
    margin = 0.05 * (high - low) or 1.0
    low, high = low - margin, high + margin
    if is_share(metric):
        # Shares differ by no more; the interval of two seeds may be far wider, and would squeeze the others.
        low, high = max(low, -100.0), min(high, 100.0)

    def place(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    rows = []
    for number, (name, difference) in enumerate(found):
        mean = (difference.mean or 0.0) * factor
        ends = difference.interval and tuple(one * factor for one in difference.interval)
        shown = ends and tuple(min(max(one, low), high) for one in ends)
        words = f"{name}: {mean:+.4g}" + (f" ({ends[0]:+.4g} to {ends[1]:+.4g})" if ends else "")
        rows.append(
            Row(
                name,
                TOP + ROW * number + 32,
                place(mean),
                (place(shown[0]), place(shown[1])) if shown else None,
                (ends[0] < low, ends[1] > high) if ends else (False, False),
                difference.decision or "",
                words,
            )
        )
    ticks = [(place(at), f"{at:+g}" if at else "0") for at in _round_values(low, high)]
    unit = "percentage points" if factor > 1 else metric.replace("_", " ")
    return Forest(rows, TOP + ROW * len(rows), place(0.0), ticks, unit)


def _round_values(low: float, high: float) -> list[float]:
    """About four, at steps of 1, 2 or 5 times a power of ten; zero is one of them."""
    step = 10.0**-12
    for power in range(-12, 13):
        for factor in (1, 2, 5):
            step = factor * 10.0**power
            if (high - low) / step <= 5:
                first = int(-(-low // step))
                last = int(high // step)
                return [round(number * step, 12) for number in range(first, last + 1)]
    return [0.0]
