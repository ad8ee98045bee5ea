"""Numbers as words for a person: accuracies in percent, their differences in points."""

from collections.abc import Sequence

from studies.stats.inference import Interval


def amount(value: float, metric: str) -> str:
    """`97.88 %`, or `0.1234` for what is no accuracy."""
    return f"{value * 100:.2f} %" if is_share(metric) else f"{value:.4g}"


def gap(value: float, metric: str) -> str:
    """`+0.66 points`, or `-0.0123`."""
    return f"{value * 100:+.2f} points" if is_share(metric) else f"{value:+.4g}"


def size(value: float, metric: str) -> str:
    """The gap without its sign."""
    return f"{abs(value) * 100:.2f} points" if is_share(metric) else f"{abs(value):.4g}"


def bounds(interval: Interval, metric: str) -> str:
    """`+0.02 to +1.31`."""
    low, high = (f"{one * 100:+.2f}" if is_share(metric) else f"{one:+.4g}" for one in interval)
    return f"{low} to {high}"


def chance(p_value: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    text = format_p_value(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def format_p_value(p_value: float) -> str:
    """`0.012`, or `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def count(number: int, noun: str) -> str:
    """`1 job`, `3 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and c`; what is more than `most` is counted."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(
        part for part in (", ".join(shown[:-1]), shown[-1] if shown else "") if part
    )


def is_share(metric: str) -> bool:
    return metric.endswith("accuracy")
