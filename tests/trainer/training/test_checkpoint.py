"""Checkpoints: a resumed training equals an uninterrupted one, and nothing in them is idle."""

import hashlib
import io
import math
import os
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from pickle import UnpicklingError
from shutil import copyfile

import pytest
import torch

import runtime.files
import trainer.evaluation.evaluator
from tests.support.trainings import (
    DEVICES,
    last_of,
    load_data,
    make_spec,
    outcome,
    run,
    run_saving_often,
    run_until,
    start,
    together,
    until,
)
from trainer.events import (
    CheckpointSaved,
    EpochFinished,
    EvaluationFinished,
    Event,
    Progressed,
    Stepped,
)
from trainer.files import write_file
from trainer.models.build import build_model
from trainer.optimization.early_stopping import EarlyStopping
from trainer.spec.job import JobSpec
from trainer.spec.optimization import Patience
from trainer.training.checkpoint import Best, SavedState


def make_rich_spec() -> JobSpec:
    """Everything that has a state: ends early after three of six epochs of four steps."""
    return make_spec(
        norm={"kind": "batch"},
        optimizer={"kind": "adam", "lr": 0.01},
        schedule={"kind": "cosine", "warmup_epochs": 0.5},
        regularization=[
            {"kind": "dropout", "p": 0.2},
            {"kind": "weight_decay", "value": 1e-3},
            {"kind": "ema", "decay": 0.9},
        ],
        augmentation=[{"kind": "rotate", "degrees": 15.0}, {"kind": "contrast"}],
        training={"epochs": 6, "batch_size": 64},
        early_stopping={"kind": "patience", "patience": 2, "min_delta": 100.0},
        evaluations=[{}, {"weights": "last", "mode": "mc_dropout", "outputs": ["predictions"]}],
    )


@pytest.fixture(autouse=True, scope="module")
def _few_passes() -> Iterator[None]:
    """Fifty take most of the time, and prove no more."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(trainer.evaluation.evaluator, "MC_PASSES", 3)
        yield


def test_resuming_from_any_checkpoint_equals_no_interruption(tmp_path):
    spec = make_rich_spec()
    events = run_saving_often(spec, tmp_path / "attempt-1")
    expected = outcome(events)
    assert len(expected["epochs"]) == 3
    saved = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "last"]
    assert [one.step for one in saved] == list(range(1, 13))
    for number, one in enumerate(saved[::2], 2):
        resumed = run(spec, tmp_path / f"attempt-{number}", [one])
        assert resumed[0].first_step == one.step
        assert resumed[0].warnings == ()
        assert outcome(together(until(one, events), resumed)) == expected


@pytest.fixture(scope="module", params=DEVICES)
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Event]]:
    """A device, and the events of the uninterrupted training on it."""
    folder = tmp_path_factory.mktemp("whole") / "attempt-1"
    return request.param, run(make_rich_spec(), folder, device=request.param)


@pytest.mark.parametrize(
    "moment",
    [
        Stepped(1),
        Stepped(4),
        Stepped(7),
        Progressed("val"),
        Progressed("test"),
        Progressed("last_mc_dropout_test"),
    ],
    ids=str,
)
def test_saving_and_stopping_at_any_moment_changes_nothing(moment, whole, tmp_path):
    spec, (device, events) = make_rich_spec(), whole
    job = tmp_path / "stopped"
    before, after = run_until(moment, spec, job / "attempt-1", device=device)
    resumed = run(spec, job / "attempt-2", [last_of(after)], device=device)
    assert outcome(together([*before, *after], resumed)) == outcome(events)


def test_training_by_steps_resumes_in_the_middle_of_pass_and_period(tmp_path):
    training = {"steps": 11, "eval_every": 3, "batch_size": 64}
    spec = make_spec(training=training, norm={"kind": "none"})
    events = run_saving_often(spec, tmp_path / "attempt-1")
    saved = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "last"]
    for number, one in enumerate(saved[1::3], 2):
        resumed = run(spec, tmp_path / f"attempt-{number}", [one])
        assert outcome(together(until(one, events), resumed)) == outcome(events)


def test_a_resume_after_training_repeats_only_the_evaluations(tmp_path):
    spec = make_rich_spec()
    events = run(spec, tmp_path / "attempt-1")
    resumed = run(spec, tmp_path / "attempt-2", [last_of(events)])
    assert not [one for one in resumed if isinstance(one, Stepped | EpochFinished)]
    names = [one.name for one in resumed if isinstance(one, EvaluationFinished)]
    assert names == ["test", "last_mc_dropout_test"]


def test_three_attempts_in_a_row_share_the_best_weights(job, tmp_path):
    spec, uninterrupted, _ = job
    events, resume = [], []
    for number, step in ((1, 5), (2, 7)):
        training = start(spec, tmp_path / f"attempt-{number}", resume)
        part = []
        for event in training:
            part.append(event)
            if event == Stepped(step):
                resume = [training.send(trainer.events.StopRequest.SAVE_AND_STOP), *training]
                break
        events += part
    # The best weights lie in the first attempt's folder only.
    assert not list((tmp_path / "attempt-2").glob("best*"))
    events += run(spec, tmp_path / "attempt-3", resume)
    assert outcome(events) == outcome(uninterrupted)


FRESH = {
    "model": None,
    "optimizer": {},
    "step": 0,
    "epoch": 0,
    "sums": torch.zeros(5, dtype=torch.float64),
    "watches": EarlyStopping.start(Patience(kind="patience", patience=2, min_delta=100.0)).state(),
    "average": None,
    "best": None,
    "best.epoch": 0,
    "best.metrics": {"val_loss": math.nan, "val_accuracy": math.nan},
    "best.path": "",
    "best.digest": "",
    "reason": None,
}


def all_fields() -> list[str]:
    return [one.name for one in fields(SavedState)] + [f"best.{one.name}" for one in fields(Best)]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[JobSpec, list[Event], Path]:
    spec, folder = make_rich_spec(), tmp_path_factory.mktemp("job")
    return spec, run_saving_often(spec, folder / "attempt-1"), folder


def test_nothing_dropped_is_nothing_changed(job):
    spec, events, folder = job
    for one in three_moments(events):
        content = torch.load(one.path, weights_only=True)
        same = rewrite(one, content, folder / "same.pt")
        resumed = run(spec, folder / "attempt-same", [same])
        assert outcome(together(until(one, events), resumed)) == outcome(events)


@pytest.mark.parametrize("field", all_fields())
def test_no_field_of_a_checkpoint_can_be_dropped(field, job):
    spec, events, folder = job
    fresh = (
        build_model(spec, load_data(spec).info).state_dict() if field == "model" else FRESH[field]
    )

    def is_missed(saved: CheckpointSaved) -> bool:
        without = drop(saved, field, fresh, folder / "dropped.pt")
        try:
            resumed = run(spec, folder / "attempt-dropped", [without])
        except (ArithmeticError, KeyError, RuntimeError):
            return True
        return outcome(together(until(saved, events), resumed)) != outcome(events)

    assert any(is_missed(saved) for saved in three_moments(events))


def three_moments(events: list[Event]) -> list[CheckpointSaved]:
    """In the middle of the second period, at its end, and after the training."""
    saved = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "last"]
    return [saved[5], saved[7], saved[-1]]


def drop(saved: CheckpointSaved, field: str, fresh: object, path: Path) -> CheckpointSaved:
    content = torch.load(saved.path, weights_only=True)
    *path_to, name = f"state.{field}".split(".")
    holder = content
    for part in path_to:
        holder = holder[part]
    holder[name] = fresh
    return rewrite(saved, content, path)


def rewrite(saved: CheckpointSaved, content: object, path: Path) -> CheckpointSaved:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    written = write_file(path, buffer.getvalue())
    return replace(saved, path=written.path, digest=written.digest, bytes=written.bytes)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, Path.unlink])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(damage, job, tmp_path):
    spec, events, folder = job
    first, second = [
        one
        for one in events
        if isinstance(one, CheckpointSaved) and one.kind == "last" and one.step in (4, 8)
    ]
    copied = copyfile(second.path, tmp_path / "damaged.pt")
    damage(copied)
    second = replace(second, path=str(copied))
    resumed = run(spec, folder / "attempt-damaged", [second, first])
    assert resumed[0].first_step == first.step
    (warning,) = resumed[0].warnings
    assert "the checkpoint of step 8 is not usable" in warning
    # One that is not there may be there for another host.
    assert resumed[0].damaged == (() if damage is Path.unlink else (second.path,))
    assert outcome(together(until(first, events), resumed)) == outcome(events)


def test_a_checkpoint_whose_best_weights_are_damaged_is_not_used(tmp_path):
    spec = make_rich_spec()
    events = run(spec, tmp_path / "attempt-1")
    best = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "best"][-1]
    flip_a_byte(Path(best.path))
    resumed = run(spec, tmp_path / "attempt-2", [last_of(events)])
    assert resumed[0].first_step == 0
    assert Path(best.path).name in resumed[0].warnings[0]
    assert resumed[0].warnings[-1] == "no checkpoint is usable: training starts from the beginning"
    assert outcome(resumed) == outcome(events)


def test_another_environment_is_named_in_a_warning(tmp_path):
    spec = make_rich_spec()
    saved = last_of(run(spec, tmp_path / "attempt-1"))
    content = torch.load(saved.path, weights_only=True)
    content["environment"]["torch"] = "1.0"
    elsewhere = rewrite(saved, content, tmp_path / "elsewhere.pt")
    resumed = run(spec, tmp_path / "attempt-2", [elsewhere])
    (warning,) = resumed[0].warnings
    assert "torch (1.0 → " in warning
    assert "not promised" in warning


def test_another_format_is_not_used(tmp_path):
    spec = make_rich_spec()
    saved = last_of(run(spec, tmp_path / "attempt-1"))
    content = {**torch.load(saved.path, weights_only=True), "format": 99}
    resumed = run(spec, tmp_path / "attempt-2", [rewrite(saved, content, tmp_path / "new.pt")])
    assert resumed[0].first_step == 0
    assert "format 99" in resumed[0].warnings[0]


def test_best_weights_are_a_plain_state_dict_without_anything_else(tmp_path):
    spec = make_rich_spec()
    events = run(spec, tmp_path / "attempt-1")
    best = next(one for one in events if isinstance(one, CheckpointSaved) and one.kind == "best")
    model = build_model(spec, load_data(spec).info)
    content = torch.load(best.path, weights_only=True)
    assert content.keys() == model.state_dict().keys()
    assert best.bytes == Path(best.path).stat().st_size
    digest = hashlib.blake2b(Path(best.path).read_bytes(), digest_size=16).hexdigest()
    assert best.digest == digest


def test_a_checkpoint_with_code_in_it_is_never_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    spec = make_rich_spec()
    saved = last_of(run(spec, tmp_path / "attempt-1"))
    harmful = rewrite(saved, {"format": 1, "state": Harmful()}, tmp_path / "harmful.pt")
    with pytest.raises(UnpicklingError):
        run(spec, tmp_path / "attempt-2", [harmful])
    assert not (tmp_path / "harmed").exists()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(monkeypatch, tmp_path):
    path = tmp_path / "file"
    write_file(path, b"old")

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runtime.files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(monkeypatch, tmp_path):
    happened = []
    fsync, rename = os.fsync, Path.replace

    def record_fsync(handle):
        happened.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def record_replace(self, target):
        happened.append("rename")
        return rename(self, target)

    monkeypatch.setattr(runtime.files.os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    write_file(tmp_path / "new" / "file", b"content")
    # The unfinished file has a random part in its name.
    happened = [re.sub(r"\.[0-9a-f]{8}\.tmp$", ".tmp", what) for what in happened]
    assert happened == [f"sync {tmp_path.name}", "sync .file.tmp", "rename", "sync new"]
