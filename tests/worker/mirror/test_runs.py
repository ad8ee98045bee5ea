"""Every metric that SQL can record has its name in MLflow: the same, or a documented slash form."""

from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from store.db.models import Epoch
from store.jobs.recording import STANDARD_METRICS
from tests.support.trainings import epochs, finished, make_spec, run
from trainer.optimization.early_stopping import _RULES
from trainer.spec.dataset import Shift
from trainer.spec.job import Evaluation
from trainer.spec.part import Metric
from worker.mirror.runs import (
    EPOCH_SLASH_FORMS,
    JOB_SLASH_FORMS,
    diagnosis_metric,
    epoch_metric,
    job_metric,
)

OUTPUTS = ("predictions", "filters", "weights", "activations", "responses")


def evaluations() -> list[Evaluation]:
    shifts = (None, Shift(brightness=0.1))
    every = product(("best", "last"), ("train", "val", "test"), ("eval", "mc_dropout"), shifts)
    default = [
        Evaluation(weights=weights, split=split, mode=mode, shift=shift)
        for weights, split, mode, shift in every
    ]
    return [*default, Evaluation(name="corrupted"), Evaluation(name="test_noisy")]


def job_names() -> set[str]:
    """All that a training's summary and its evaluations are called."""
    summary = {"epochs", "steps", "best_epoch", *(f"best_{one}" for one in get_args(Metric))}
    stops = {f"stop_epoch_{rule.kind}" for rule in _RULES}
    prefixes = {one.prefix for one in evaluations()}
    measured = {f"{prefix}_{one}" for prefix in prefixes for one in ("loss", "accuracy", "hoyer")}
    return summary | stops | measured | {"seconds"}


def test_the_slash_forms_are_those_that_are_documented() -> None:
    assert {job_metric(one) for one in JOB_SLASH_FORMS} >= {
        "best/val_accuracy", "best/val_loss", "best/epoch", "test/accuracy", "test/loss",
    }  # fmt: skip
    assert [epoch_metric(one) for one in (*STANDARD_METRICS, "seconds")] == [
        "train/loss", "train/cost", "train/accuracy", "val/loss", "val/accuracy", "lr", "epoch_seconds",
    ]  # fmt: skip


def test_every_other_name_of_a_job_is_the_same_in_mlflow() -> None:
    for name in job_names() - JOB_SLASH_FORMS.keys():
        assert job_metric(name) == name


def test_no_two_metrics_of_a_run_share_a_name() -> None:
    columns = {one.name for one in Epoch.__table__.columns} & EPOCH_SLASH_FORMS.keys()
    assert columns == EPOCH_SLASH_FORMS.keys()
    names = [*map(epoch_metric, EPOCH_SLASH_FORMS), *map(job_metric, job_names())]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("statistic", ["before_p50", "before_drift_training"])
def test_a_layers_statistics_keep_their_names(statistic: str) -> None:
    assert diagnosis_metric("layer1.0.bn1", statistic) == f"diagnostics/layer1.0.bn1/{statistic}"


def test_a_real_training_records_no_name_that_mlflow_lacks(tmp_path: Path) -> None:
    """A second: it trains, with every kind of output that has scalars."""
    spec = make_spec(
        training={"epochs": 1, "batch_size": 64},
        regularization=[{"kind": "l1", "value": 1e-4}],
        evaluations=[
            {"outputs": OUTPUTS},
            {"split": "val"},
            {"name": "noisy", "shift": {"noise": 0.1}},
        ],
    )
    events = run(spec, tmp_path)
    [epoch] = epochs(events)
    summary = finished(events).metrics
    for name in epoch.metrics.keys() - EPOCH_SLASH_FORMS.keys():
        assert epoch_metric(name) == name
    for name in summary.keys() - JOB_SLASH_FORMS.keys():
        assert job_metric(name) == name
    assert {"test_weight_norm", "noisy_accuracy", "final_val_loss"} <= summary.keys()
