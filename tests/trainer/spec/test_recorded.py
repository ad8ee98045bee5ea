"""What a spec is said to record is what its training records: no more, no less."""

from pathlib import Path

import pytest

from tests.support.trainings import finished, make_spec, run
from trainer.events import Diagnosed
from trainer.spec.job import Output
from trainer.spec.recorded import (
    LAYER_STATISTICS,
    NETWORK_STATISTICS,
    OUTPUT_SCALARS,
    STOPPING_RULES,
    always_recorded,
    recorded_metrics,
)

SHORT = {"training": {"epochs": 1, "batch_size": 64}}
EVERY_OUTPUT = list(Output.__args__)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"early_stopping": {"kind": "patience", "monitor": "train_cost"}},
        {"evaluations": []},
        {
            "evaluations": [
                {"outputs": [one for one in EVERY_OUTPUT if one != "grid"]},
                {"name": "end", "weights": "last", "split": "val", "outputs": ["activations"]},
                {"shift": {"noise": 0.1}, "mode": "mc_dropout", "outputs": ["activations"]},
            ],
            "regularization": [{"kind": "dropout", "p": 0.2}],
            "augmentation": [{"kind": "flip"}],
        },
        {"dataset": {"name": "digits", "train_size": 100, "shift": {"contrast": 0.5}},
         "evaluations": [{"outputs": ["activations"]}, {"split": "val", "outputs": ["activations"]}]},
        {"dataset": {"name": "polynomial_noise", "train_size": 50}, "task": {"kind": "regression"},
         "model": {"name": "polynomial", "degree": 3}, "norm": {"kind": "none"}},
    ],
)  # fmt: skip
def test_a_training_records_what_its_spec_says(changes: dict[str, object], tmp_path: Path) -> None:
    spec = make_spec(**SHORT | changes)
    metrics = set(finished(run(spec, tmp_path / "attempt-1")).metrics)
    assert set(always_recorded(spec)) <= metrics <= set(recorded_metrics(spec))
    assert set(OUTPUT_SCALARS) <= set(EVERY_OUTPUT)


def test_every_stopping_rule_may_leave_its_epoch(tmp_path: Path) -> None:
    from trainer.optimization.early_stopping import EarlyStopping

    assert set(STOPPING_RULES) == set(EarlyStopping.start(make_spec().early_stopping).memories)


def test_diagnostics_measure_what_is_listed(tmp_path: Path) -> None:
    spec = make_spec(**SHORT, diagnostics={"kind": "epoch"})
    [seen] = [one for one in run(spec, tmp_path / "attempt-1") if isinstance(one, Diagnosed)]
    layers = dict(seen.layers)
    assert set(layers.pop("network")) == set(NETWORK_STATISTICS)
    assert {name for one in layers.values() for name in one} == set(LAYER_STATISTICS)
