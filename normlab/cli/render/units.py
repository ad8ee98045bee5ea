"""Formatting of metric values: accuracies in percent."""

from collections.abc import Mapping
from typing import Any


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
    """The metric that a job's result is shown by: its accuracy on test, or its loss where the task has none."""
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
