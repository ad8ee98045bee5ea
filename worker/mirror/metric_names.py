"""The names of metrics in MLflow: SQL's own, except for the listed slash forms, which group its charts."""

from collections.abc import Mapping
from typing import Final

from worker.mirror.limits import entity_key

#: Columns of the epoch table. `seconds` is also what a job took in all, so an epoch's have another name.
EPOCH_SLASH_FORMS: Final[Mapping[str, str]] = {
    "train_loss": "train/loss",
    "train_cost": "train/cost",
    "train_accuracy": "train/accuracy",
    "val_loss": "val/loss",
    "val_accuracy": "val/accuracy",
    "learning_rate": "lr",
    "seconds": "epoch_seconds",
}
#: A job's own metrics: those of the epoch that was kept, and of its weights on the test split.
JOB_SLASH_FORMS: Final[Mapping[str, str]] = {
    "best_epoch": "best/epoch",
    "best_train_loss": "best/train_loss",
    "best_train_cost": "best/train_cost",
    "best_train_accuracy": "best/train_accuracy",
    "best_val_loss": "best/val_loss",
    "best_val_accuracy": "best/val_accuracy",
    "test_loss": "test/loss",
    "test_accuracy": "test/accuracy",
}


def epoch_metric(name: str) -> str:
    """Of a column of `epochs`, or a key of its `extra`."""
    return EPOCH_SLASH_FORMS.get(name) or entity_key(name)


def job_metric(name: str) -> str:
    """Of a key of a job's `metrics`."""
    return JOB_SLASH_FORMS.get(name) or entity_key(name)


def diagnosis_metric(layer: str, statistic: str) -> str:
    """Of a layer's statistic: one group of charts per layer."""
    return entity_key(f"diagnostics/{layer}/{statistic}")
