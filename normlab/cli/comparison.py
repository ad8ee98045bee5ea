"""A comparison as a table that a stranger understands. Knows the shape of the answer, no route."""

from collections.abc import Mapping
from typing import Any

from normlab.cli.output import Column, Item, raw


def columns(comparison: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns for the items of `variants`; accuracies are shown in percent, CSV as they are."""
    metric, baseline = comparison["metric"], comparison["baseline"]

    def difference(name: str) -> Any:
        return lambda one: (one["difference"] or {}).get(name)

    made = [
        Column("variant", lambda one: str(one.get("name") or one["variant"])),
        Column("n", lambda one: str(one["n"]), raw("n"), right=True),
        Column(unit_name(metric), lambda one: _mean(one, metric), raw("mean"), right=True),
        Column(
            "95 % interval",
            lambda one: interval(one["interval"], metric),
            raw("interval"),
            right=True,
        ),
        Column(
            f"difference to {baseline}",
            lambda one: (
                "baseline"
                if _is_baseline(one, baseline)
                else scaled(difference("mean")(one), metric, sign=True)
            ),
            difference("mean"),
            right=True,
        ),
        Column(
            "95 % interval of it",
            lambda one: interval(difference("interval")(one), metric, sign=True),
            difference("interval"),
            right=True,
        ),
        Column(
            "p", lambda one: p_value(difference("p_value")(one)), difference("p_value"), right=True
        ),
        Column(
            "epochs to stop",
            lambda one: _number(one.get("epochs", {}).get("mean"), 1),
            lambda one: one.get("epochs", {}).get("mean"),
            right=True,
        ),
    ]
    made += [
        Column(word, lambda one, word=word: str(one[word]), raw(word), right=True)  # type: ignore[misc]
        for word in ("diverged", "failed")
    ]
    return tuple(made)


def legend(comparison: Mapping[str, Any]) -> list[str]:
    """How to read the table, and what to be careful about."""
    baseline = comparison["baseline"]
    accuracy = comparison["metric"].endswith("accuracy")
    tested = any(
        (one["difference"] or {}).get("p_value") is not None for one in comparison["variants"]
    )
    lines = [
        f"Mean ± standard deviation over n seeds. Differences to {baseline} are paired: the same seed has the",
        f"same data order and start in every variant{'; they are in percentage points' if accuracy else ''}. "
        "An interval that leaves out zero means",
        "that chance alone hardly explains the difference."
        + (" p: paired t-test, not corrected for several comparisons." if tested else ""),
    ]
    return lines + [f"Note: {note}" for note in comparison.get("notes", [])]


def unit_name(metric: str) -> str:
    words = metric.replace("_", " ")
    return f"{words}, %" if metric.endswith("accuracy") else words


def scaled(value: float | None, metric: str, *, sign: bool = False) -> str:
    """In percent if it is an accuracy; with its sign if it is a difference."""
    if value is None:
        return "–"
    accuracy = metric.endswith("accuracy")
    return f"{value * 100 if accuracy else value:{'+' if sign else ''}.{2 if accuracy else 4}f}"


def interval(bounds: list[float] | None, metric: str, *, sign: bool = False) -> str:
    if bounds is None:
        return "–"
    return " to ".join(scaled(bound, metric, sign=sign) for bound in bounds)


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _is_baseline(one: Item, baseline: str) -> bool:
    return bool(one["variant"] == baseline)


def _mean(one: Item, metric: str) -> str:
    if one["std"] is None:
        return scaled(one["mean"], metric)
    return f"{scaled(one['mean'], metric)} ± {scaled(one['std'], metric)}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
