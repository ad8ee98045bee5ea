"""The loop: equal events, shared streams, early stopping, divergence, stop requests."""

import hashlib
import itertools
import math
from pathlib import Path

import pytest
import torch

import trainer.training.checkpoint
import trainer.training.setup
from tests.support.trainings import (
    DEVICES,
    comparable,
    epochs,
    finished,
    last_of,
    load_data,
    make_spec,
    outcome,
    run,
    run_until,
    start,
)
from trainer.events import (
    CheckpointSaved,
    EpochFinished,
    EvaluationFinished,
    Finished,
    Progressed,
    Started,
    Stepped,
)
from trainer.spec.job import Numerics
from trainer.training.batch_order import BatchSampler
from trainer.training.checkpoint import restore_model
from trainer.training.loop import train

NORMS = [{"kind": kind} for kind in ("none", "batch", "layer", "instance")] + [
    {"kind": "group", "groups": 2}
]
RICH = {
    "optimizer": {"kind": "adam", "lr": 0.01},
    "schedule": {"kind": "cosine", "warmup_epochs": 0.5},
    "regularization": [{"kind": "dropout", "p": 0.2}, {"kind": "l2", "value": 1e-3}],
    "augmentation": [{"kind": "rotate", "degrees": 15.0}, {"kind": "brightness"}],
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm["kind"])
def test_the_same_spec_twice_gives_equal_events(norm, device, tmp_path):
    spec = make_spec(norm=norm, **RICH)
    first = run(spec, tmp_path / "a" / "attempt-1", device=device)
    torch.rand(7)
    second = run(spec, tmp_path / "b" / "attempt-1", device=device)
    assert parted(first) == parted(second)
    assert outcome(first) == outcome(second)


def parted(events):
    """Without checkpoints, and checkpoints alone: when one is complete depends on the disk."""
    others = [comparable(one) for one in events if not isinstance(one, CheckpointSaved)]
    return others, [comparable(one) for one in events if isinstance(one, CheckpointSaved)]


def test_events_come_in_their_order(tmp_path):
    events = run(make_spec(training={"epochs": 2, "batch_size": 64}), tmp_path / "attempt-1")
    kinds = [type(one) for one in events if not isinstance(one, CheckpointSaved)]
    period = [Stepped] * 4 + [Progressed, EpochFinished]
    assert kinds == [Started, *period, *period, Progressed, EvaluationFinished, Finished]
    saved = [number for number, one in enumerate(events) if isinstance(one, CheckpointSaved)]
    assert [events[number].kind for number in saved] == ["best", "last"]
    assert isinstance(events[-1], Finished)
    assert all(len(period) * 2 < number < len(events) - 1 for number in saved)
    assert [one.step for one in events if isinstance(one, Stepped)] == list(range(1, 9))


def test_every_period_reports_the_standard_metrics(tmp_path):
    penalty = [{"kind": "l2", "value": 0.1}]
    for one in epochs(run(make_spec(regularization=penalty), tmp_path / "attempt-1")):
        assert set(one.metrics) == {
            "train_loss", "train_cost", "train_accuracy", "val_loss", "val_accuracy", "learning_rate",
            "l2_term",
        }  # fmt: skip
        assert one.metrics["l2_term"] > 0
        assert one.metrics["train_cost"] == pytest.approx(
            one.metrics["train_loss"] + one.metrics["l2_term"]
        )
        assert one.metrics["learning_rate"] == 0.05


def test_each_term_of_the_cost_is_recorded_by_its_name_and_losses_are_plain(tmp_path):
    terms = [{"kind": "l1", "value": 0.01}, {"kind": "elastic_net", "value": 0.01}]
    smoothing = {"kind": "label_smoothing", "value": 0.2}
    for one in epochs(run(make_spec(regularization=[*terms, smoothing]), tmp_path / "attempt-1")):
        parts = [one.metrics[f"{name}_term"] for name in ("l1", "elastic_net", "label_smoothing")]
        assert one.metrics["train_cost"] == pytest.approx(one.metrics["train_loss"] + sum(parts))


def test_training_by_steps_evaluates_every_so_many_and_at_the_end(tmp_path):
    spec = make_spec(training={"steps": 7, "eval_every": 3, "batch_size": 64})
    events = run(spec, tmp_path / "attempt-1")
    assert [(one.epoch, one.step) for one in epochs(events)] == [(1, 3), (2, 6), (3, 7)]
    assert finished(events).metrics["steps"] == 7


@pytest.fixture
def seen_batches(monkeypatch):
    """Digests of the indices of every batch that a training takes."""
    digests = []
    original = BatchSampler.indices

    def indices(self, step):
        found = original(self, step)
        digests.append(hashlib.blake2b(found.numpy().tobytes()).hexdigest())
        return found

    monkeypatch.setattr(BatchSampler, "indices", indices)
    return digests


def test_all_norms_see_the_same_batches_and_start_from_the_same_weights(
    seen_batches, monkeypatch, tmp_path
):
    starts = []
    original = trainer.training.setup.build_model

    def build_model(spec, info):
        model = original(spec, info)
        layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        starts.append([layer.weight.detach().clone() for layer in layers])
        return model

    monkeypatch.setattr(trainer.training.setup, "build_model", build_model)
    orders = []
    for norm in NORMS:
        run(make_spec(norm=norm, **RICH), tmp_path / norm["kind"] / "attempt-1")
        orders.append(tuple(seen_batches))
        seen_batches.clear()
    assert len(set(orders)) == 1
    assert len(orders[0]) == 12
    assert all(map(torch.equal, starts[0], other) for other in starts[1:])


def test_another_seed_is_another_training(tmp_path):
    first, second = (
        outcome(run(make_spec(seed=seed), tmp_path / str(seed) / "attempt-1")) for seed in (0, 1)
    )
    assert first["epochs"] != second["epochs"]
    assert first["weights"] != second["weights"]


def test_patience_ends_the_training_and_the_best_epoch_is_kept(tmp_path):
    stopping = {"kind": "patience", "monitor": "val_loss", "patience": 2, "min_delta": 100.0}
    spec = make_spec(training={"epochs": 9, "batch_size": 64}, early_stopping=stopping)
    end = finished(run(spec, tmp_path / "attempt-1"))
    assert end.reason == "early_stopped"
    assert end.metrics["epochs"] == 3


def test_finished_tells_the_values_of_the_best_epoch_by_the_monitor(tmp_path):
    stopping = {"kind": "none", "monitor": "train_accuracy"}
    events = run(make_spec(early_stopping=stopping), tmp_path / "attempt-1")
    best = max(epochs(events), key=lambda one: one.metrics["train_accuracy"])
    metrics = finished(events).metrics
    assert metrics["best_epoch"] == best.epoch
    for name in ("train_accuracy", "val_loss", "val_accuracy"):
        assert metrics[f"best_{name}"] == best.metrics[name]


def test_best_weights_are_those_of_the_best_epoch(tmp_path):
    training = {"epochs": 3, "batch_size": 64, "checkpoint_seconds": 1e-9}
    spec = make_spec(optimizer={"kind": "sgd", "lr": 0.5}, training=training)
    events = run(spec, tmp_path / "attempt-1")
    best = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "best"]
    assert [one.epoch for one in best] == [one.epoch for one in epochs(events) if one.best]
    data = load_data(spec)
    model = restore_model(spec, data.info, Path(best[-1].path))
    mean, std = data.info.mean[0], data.info.std[0]
    with torch.no_grad():
        found = model((data.val.images.float() / 255 - mean) / std).argmax(1)
    accuracy = (found == data.val.labels).double().mean().item()
    assert accuracy == pytest.approx(finished(events).metrics["best_val_accuracy"])


DIVERGING = {
    "model": {"name": "mlp", "hidden": [16, 16], "activation": "sigmoid"},
    "norm": {"kind": "none"},
    "optimizer": {"kind": "sgd", "lr": 1e38},
}
FOR_LAST = [{"weights": "last", "outputs": ["predictions"]}, {}]


@pytest.mark.parametrize(("activation", "lr"), [("sigmoid", 1e38), ("relu", 1e6)])
def test_a_loss_that_is_no_longer_finite_ends_as_diverged(activation, lr, tmp_path):
    model = {"name": "mlp", "hidden": [16, 16], "activation": activation}
    changes = {**DIVERGING, "model": model, "optimizer": {"kind": "sgd", "lr": lr}}
    events = run(make_spec(**changes, evaluations=FOR_LAST), tmp_path / "attempt-1")
    (epoch,) = epochs(events)
    assert not math.isfinite(epoch.metrics["train_loss"])
    assert math.isnan(epoch.metrics["val_loss"])
    assert not epoch.best
    end = finished(events)
    assert end.reason == "diverged"
    assert math.isnan(end.metrics["best_val_accuracy"])
    assert math.isnan(end.metrics["test_accuracy"])
    assert math.isnan(end.metrics["last_test_loss"])


def test_what_a_diverged_period_reports_depends_on_no_clock(tmp_path):
    results = []
    for name, seconds in (("rarely", 1e6), ("often", 1e-9)):
        training = {"steps": 40, "eval_every": 20, "batch_size": 64, "checkpoint_seconds": seconds}
        events = run(
            make_spec(**DIVERGING, training=training, evaluations=FOR_LAST),
            tmp_path / name / "attempt-1",
        )
        assert len([one for one in events if isinstance(one, Stepped)]) <= 20
        results.append([comparable(epochs(events)), comparable(events[-1])])
    assert results[0] == results[1]
    assert finished(events).metrics["steps"] < 20


def test_divergence_is_noticed_at_the_next_save_inside_a_period(tmp_path):
    training = {"steps": 1000, "eval_every": 1000, "batch_size": 64, "checkpoint_seconds": 1e-9}
    events = run(make_spec(**DIVERGING, training=training), tmp_path / "attempt-1")
    assert len([one for one in events if isinstance(one, Stepped)]) < 10
    assert finished(events).reason == "diverged"


def test_the_best_weights_from_before_the_divergence_are_evaluated(monkeypatch, tmp_path):
    def rate(peak, schedule, step, **_):
        return 0.05 if step < 4 else 1e38

    monkeypatch.setattr(trainer.training.setup, "learning_rate", rate)
    events = run(make_spec(**DIVERGING, evaluations=FOR_LAST), tmp_path / "attempt-1")
    end = finished(events)
    assert [one.best for one in epochs(events)] == [True, False]
    assert end.reason == "diverged"
    assert end.metrics["best_epoch"] == 1
    assert math.isfinite(end.metrics["test_loss"])
    assert math.isnan(end.metrics["last_test_loss"])


@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_the_request_to_save_and_stop_is_answered_at_once(step, tmp_path):
    _, after = run_until(Stepped(step), make_spec(), tmp_path / "attempt-1")
    *best, saved = after
    # That of the first period, once it is over.
    assert [(one.kind, one.step) for one in best] == ([("best", 4)] if step > 4 else [])
    assert (saved.kind, saved.step) == ("last", step)
    assert Path(saved.path).exists()


def test_a_stop_request_between_periods_is_answered_at_the_next_step(tmp_path):
    training = start(make_spec(), tmp_path / "attempt-1")
    for event in training:
        if isinstance(event, EpochFinished):
            break
    before = epochs([event])[0].step
    after = [training.send(trainer.events.StopRequest.SAVE_AND_STOP), *training]
    kinds = [one.kind if isinstance(one, CheckpointSaved) else type(one) for one in after]
    assert kinds == [Stepped, "best", "last"]
    assert after[-1].step == before + 1


def test_usually_checkpoints_are_written_at_the_end_only(tmp_path):
    events = run(make_spec(), tmp_path / "attempt-1")
    saved = [one for one in events if isinstance(one, CheckpointSaved)]
    best = [one.step for one in epochs(events) if one.best][-1]
    assert [(one.kind, one.step) for one in saved] == [("best", best), ("last", 12)]


def test_no_more_than_the_given_seconds_of_training_are_not_saved(monkeypatch, tmp_path):
    clock = itertools.count()
    monkeypatch.setattr(trainer.training.checkpoint.time, "monotonic", lambda: float(next(clock)))
    training = {"epochs": 6, "batch_size": 64, "checkpoint_seconds": 6.0}
    events = run(make_spec(training=training), tmp_path / "attempt-1")
    saved = [one.step for one in events if isinstance(one, CheckpointSaved) and one.kind == "last"]
    assert len(saved) > 3
    assert max(b - a for a, b in itertools.pairwise([0, *saved])) <= 6


def test_a_checkpoint_that_cannot_be_written_ends_the_training(monkeypatch, tmp_path):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.training.checkpoint, "write_file", no_space)
    with pytest.raises(OSError, match="No space"):
        run(make_spec(), tmp_path / "attempt-1")


def test_a_disk_that_is_full_for_a_while_is_warned_of_once_and_changes_no_result(
    monkeypatch, tmp_path, caplog
):
    write, tries = trainer.training.checkpoint.write_file, itertools.count()

    def no_space_at_first(path, content):
        # Also at the end of the first period, whose best weights are written before.
        if path.name.startswith("last") and next(tries) < 5:
            raise OSError(28, "No space left on device")
        return write(path, content)

    spec = make_spec(training={"epochs": 3, "batch_size": 64, "checkpoint_seconds": 1e-9})
    undisturbed = run(spec, tmp_path / "a" / "attempt-1")
    monkeypatch.setattr(trainer.training.checkpoint, "write_file", no_space_at_first)
    disturbed = run(spec, tmp_path / "b" / "attempt-1")
    assert outcome(disturbed) == outcome(undisturbed)
    lines = [one.getMessage() for one in caplog.records if "could not be written" in one.msg]
    assert [line.partition(":")[0] for line in lines] == [
        "the checkpoint of step 1 could not be written (No space left on device)"
    ]
    saved = {Path(one.path) for one in disturbed if isinstance(one, CheckpointSaved)}
    assert saved == {path for path in (tmp_path / "b").rglob("*.pt")}
    assert any(path.name.startswith("best-epoch-00001") for path in saved)


def test_best_weights_that_no_checkpoint_refers_to_do_not_fill_a_disk(monkeypatch, tmp_path):
    write = trainer.training.checkpoint.write_file

    def no_space(path, content):
        if path.name.startswith("last"):
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(trainer.training.checkpoint, "write_file", no_space)
    with pytest.raises(OSError, match="No space"):
        run(make_spec(), tmp_path / "attempt-1")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("seconds", [1e-9, 30.0])
def test_closing_the_training_leaves_nothing_that_was_not_announced(seconds, tmp_path):
    for stop_after in range(1, 14):
        folder = tmp_path / str(stop_after) / "attempt-1"
        training = {"epochs": 3, "batch_size": 64, "checkpoint_seconds": seconds}
        training = start(make_spec(training=training), folder)
        saved = [
            event
            for _, event in zip(range(stop_after), training, strict=False)
            if isinstance(event, CheckpointSaved)
        ]
        training.close()
        files = {path for path in folder.rglob("*") if path.is_file()}
        assert files == {Path(one.path) for one in saved}


def test_a_timed_save_inside_a_period_changes_no_result(tmp_path):
    results = []
    for name, seconds in (("rarely", 1e6), ("often", 1e-9)):
        training = {"epochs": 2, "batch_size": 64, "checkpoint_seconds": seconds}
        results.append(outcome(run(make_spec(**RICH, training=training), tmp_path / name / "a")))
    assert results[0] == results[1]


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_both_memory_formats_train(memory_format, tmp_path):
    numerics = Numerics(memory_format=memory_format)
    spec = make_spec()
    events = list(train(spec, load_data(spec), tmp_path / "attempt-1", numerics=numerics))
    assert finished(events).reason == "completed"
    assert events[0].environment["memory_format"] == memory_format
    assert last_of(events).step == 12
