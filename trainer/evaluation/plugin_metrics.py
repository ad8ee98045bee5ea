"""Scalars that functions of the installation's own packages make of an evaluation's predictions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.evaluation.losses import Arrays
from trainer.plugins import PluginError, explain_misfit, load_plugin
from trainer.spec import FromPlugin


def load_metric(metric: FromPlugin) -> Callable[..., Any]:
    """Raises PluginError where it cannot be used here."""
    function = load_plugin("metric", metric.entry, metric.installed)
    if (misfit := explain_misfit(function, None, None)) is not None:
        raise PluginError(
            f"metric {metric.name} cannot be called with predictions and targets: {misfit}"
        )
    return function


def measure(metrics: Sequence[FromPlugin], arrays: Arrays) -> Mapping[str, float]:
    """By the functions' names. `arrays`: what a task keeps of predictions. A number that isn't finite stays what it is.

    Raises PluginError for what is no number; whatever a function raises is its own."""
    if not metrics:
        return {}
    targets = arrays["labels"] if "labels" in arrays else arrays["targets"]
    predictions = arrays["probabilities"] if "labels" in arrays else arrays["predictions"]
    return {one.entry: _measure(one, predictions, targets) for one in metrics}


def _measure(metric: FromPlugin, predictions: Any, targets: Any) -> float:
    # Copies: a function that changes its arguments changes no other one's.
    value = load_metric(metric)(predictions.copy(), targets.copy())
    try:
        return float(value)
    except (TypeError, ValueError):
        raise PluginError(
            f"metric {metric.name} must give a number but gave a {type(value).__name__}"
        ) from None
