"""Where whole trainings are ended, and where other rules would have ended them, against the definitions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.stopping_definitions import (
    generalization_loss,
    has_risen,
    has_waited,
    progress_quotient,
)
from tests.support.trainings import epochs, finished, make_spec, run
from trainer.events import Event

#: Of training and validation losses: whether the rule says stop after t evaluations.
Rule = Callable[[list[float], list[float], int], bool]

DEFAULTS: dict[str, Rule] = {
    "patience": lambda _, validation, t: has_waited(validation, t, 5),
    "generalization_loss": lambda _, validation, t: generalization_loss(validation, t) > 5,
    "progress_quotient": lambda training, validation, t: (
        progress_quotient(training, validation, t, 5) > 1
    ),
    "successive_increases": lambda _, validation, t: has_risen(validation, t, 3, 5),
}
#: Options under which a rule stops earlier than with its defaults.
EARLIER: dict[str, tuple[dict[str, Any], Rule]] = {
    "patience": ({"patience": 2}, lambda _, validation, t: has_waited(validation, t, 2)),
    "generalization_loss": (
        {"alpha": 1.0},
        lambda _, validation, t: generalization_loss(validation, t) > 1,
    ),
    "progress_quotient": (
        {"strip": 3, "alpha": 0.05},
        lambda training, validation, t: progress_quotient(training, validation, t, 3) > 0.05,
    ),
    "successive_increases": (
        {"increases": 2, "strip": 3},
        lambda _, validation, t: has_risen(validation, t, 2, 3),
    ),
}


def overfit(folder: Path, own: dict[str, Any]) -> list[Event]:
    """A training on labels that are mostly noise, one step an epoch."""
    spec = make_spec(
        dataset={"name": "digits", "train_size": 60, "label_noise": 0.6},
        model={"name": "mlp", "hidden": [16]},
        optimizer={"kind": "adam", "lr": 0.03},
        training={"epochs": 60, "batch_size": 60},
        early_stopping=own,
    )
    return run(spec, folder / "attempt-1")


def first_stop(rule: Rule, events: list[Event]) -> int | None:
    curves = [[one.metrics[name] for one in epochs(events)] for name in ("train_loss", "val_loss")]
    return next((t for t in range(1, len(curves[0]) + 1) if rule(*curves, t)), None)


def recorded(events: list[Event]) -> dict[str, int | None]:
    metrics = finished(events).metrics
    return {kind: metrics.get(f"stop_epoch_{kind}") for kind in DEFAULTS}


def test_a_finished_training_tells_where_every_rule_would_have_stopped_it(tmp_path):
    events = overfit(tmp_path, {"kind": "none"})
    assert finished(events).reason == "completed"
    stops = {kind: first_stop(rule, events) for kind, rule in DEFAULTS.items()}
    assert recorded(events) == stops
    assert None not in stops.values()
    assert len(set(stops.values())) > 2


@pytest.mark.parametrize("kind", EARLIER)
def test_every_rule_ends_a_training_where_its_definition_says_so(kind, tmp_path):
    options, rule = EARLIER[kind]
    events = overfit(tmp_path, {"kind": kind, **options})
    stops = {one: first_stop(DEFAULTS[one], events) for one in DEFAULTS} | {
        kind: first_stop(rule, events)
    }
    assert recorded(events) == stops
    assert finished(events).reason == "early_stopped"
    assert finished(events).metrics["epochs"] == stops[kind] == len(epochs(events)) < 60
