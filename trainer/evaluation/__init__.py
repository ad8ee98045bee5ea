"""What is measured of a network: losses, evaluations, diagnostics, and the arrays that are kept."""

from trainer.evaluation.evaluator import (
    Evaluator,
    Outcome,
    Predictor,
    Weights,
    evaluate,
    plain_predictor,
)
from trainer.evaluation.losses import Batch, Task, build_task
from trainer.evaluation.plugin_metrics import load_metric
from trainer.evaluation.probe import Probe, build_probe, choose_layers

__all__ = [
    "Batch",
    "Evaluator",
    "Outcome",
    "Predictor",
    "Probe",
    "Task",
    "Weights",
    "build_probe",
    "build_task",
    "choose_layers",
    "evaluate",
    "load_metric",
    "plain_predictor",
]
