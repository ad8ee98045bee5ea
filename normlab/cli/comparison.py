"""A comparison as a table that a stranger understands. Knows the shape of the answer, no route."""

from collections.abc import Callable, Mapping
from typing import Any

from normlab.cli.output import Column, Item


def columns(comparison: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns for the items of `variants`; accuracies are shown in percent."""
    metric, baseline = comparison["metric"], comparison["baseline"]

    def difference(one: Item) -> str:
        if one["variant"] == baseline:
            return "baseline"
        return scaled((one["difference"] or {}).get("mean"), metric, sign=True)

    def difference_interval(one: Item) -> str:
        return interval((one["difference"] or {}).get("interval"), metric, sign=True)

    numbers: dict[str, Callable[[Item], str]] = {
        "n": lambda one: str(one["n"]),
        unit_name(metric): lambda one: _mean(one, metric),
        "95 % interval": lambda one: interval(one["interval"], metric),
        f"difference to {baseline}": difference,
        "95 % interval of it": difference_interval,
        "p": lambda one: p_value((one["difference"] or {}).get("p_value")),
        "epochs to stop": lambda one: _number((one.get("epochs") or {}).get("mean"), 1),
        "diverged": lambda one: str(one["diverged"]),
        "failed": lambda one: str(one["failed"]),
    }
    name = Column("variant", lambda one: str(one.get("name") or one["variant"]))
    return (name, *(Column(title, text, right=True) for title, text in numbers.items()))


def flat(one: Item) -> dict[str, Any]:
    """For programs: a variant's numbers, unrounded, each under a name of its own."""
    difference, epochs = one["difference"] or {}, one.get("epochs") or {}
    low, high = one["interval"] or (None, None)
    difference_low, difference_high = difference.get("interval") or (None, None)
    return {
        "variant": one.get("name") or one["variant"],
        **{name: one[name] for name in ("n", "mean", "std")},
        "low": low,
        "high": high,
        "difference": difference.get("mean"),
        "difference_low": difference_low,
        "difference_high": difference_high,
        "p_value": difference.get("p_value"),
        "epochs": epochs.get("mean"),
        "diverged": one["diverged"],
        "failed": one["failed"],
    }


def legend(comparison: Mapping[str, Any]) -> list[str]:
    """How to read the table, and what to be careful about: a paragraph each."""
    baseline = comparison["baseline"]
    accuracy = comparison["metric"].endswith("accuracy")
    tested = any(
        (one["difference"] or {}).get("p_value") is not None for one in comparison["variants"]
    )
    reading = (
        f"Mean ± standard deviation over n seeds. Differences to {baseline} are paired: the same seed has the "
        f"same data order and start in every variant{'; they are in percentage points' if accuracy else ''}. "
        "An interval that leaves out zero means that chance alone hardly explains the difference."
        + (" p: paired t-test, not corrected for several comparisons." if tested else "")
    )
    return [reading, *(f"Note: {note}" for note in comparison.get("notes", []))]


def unit_name(metric: str) -> str:
    words = metric.replace("_", " ")
    return f"{words}, %" if metric.endswith("accuracy") else words


def scaled(value: float | None, metric: str, *, sign: bool = False) -> str:
    """In percent if it is an accuracy; with its sign if it is a difference."""
    if value is None:
        return "–"
    accuracy = metric.endswith("accuracy")
    return f"{value * 100 if accuracy else value:{'+' if sign else ''}.{2 if accuracy else 4}f}"


def test_metric(job: Mapping[str, Any]) -> str:
    """What a job's result is told by: its accuracy on test, or its loss where the task has none."""
    has_loss_alone = "test_loss" in job["metrics"] and "test_accuracy" not in job["metrics"]
    return "test_loss" if has_loss_alone else "test_accuracy"


def interval(bounds: list[float] | None, metric: str, *, sign: bool = False) -> str:
    if bounds is None:
        return "–"
    return " to ".join(scaled(bound, metric, sign=sign) for bound in bounds)


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _mean(one: Item, metric: str) -> str:
    if one["std"] is None:
        return scaled(one["mean"], metric)
    return f"{scaled(one['mean'], metric)} ± {scaled(one['std'], metric)}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
