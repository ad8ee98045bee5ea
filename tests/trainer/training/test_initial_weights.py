"""Trainings that begin with the weights of another one, and specs whose model these do not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.files import DamagedFile
from tests.support.trainer_specs import DIGITS, make_info
from tests.support.trainings import (
    finished,
    last_of,
    load_data,
    make_spec,
    outcome,
    run_saving_often,
    together,
    until,
)
from trainer.checks.initial_weights import Source
from trainer.checks.run import check
from trainer.errors import ModelError
from trainer.events import CheckpointSaved, Event, Started, Stepped
from trainer.models.build import build_model
from trainer.spec.job import JobSpec
from trainer.training.loop import train

#: So small a step changes no digit of a weight.
STILL = {"optimizer": {"kind": "sgd", "lr": 1e-30, "momentum": 0.0}}
STEP = {"training": {"steps": 1, "eval_every": 1}}


def begin(
    spec: JobSpec, folder: Path, initial: CheckpointSaved | None, resume: Any = ()
) -> list[Event]:
    return list(train(spec, load_data(spec), folder, initial=initial, resume=resume))


def from_job(checkpoint: str = "best", **options: Any) -> dict[str, Any]:
    return {"init_from": {"job": 7, "checkpoint": checkpoint, **options}}


@pytest.fixture(scope="module")
def source(tmp_path_factory: Any) -> list[Event]:
    spec = make_spec(regularization=[{"kind": "ema", "decay": 0.5}])
    return run_saving_often(spec, tmp_path_factory.mktemp("source") / "attempt-1")


def newest(events: list[Event], kind: str) -> CheckpointSaved:
    return [one for one in events if isinstance(one, CheckpointSaved) and one.kind == kind][-1]


def trained(events: list[Event]) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(last_of(events).path, weights_only=True)["state"]
    return dict(state["model"])


def weights_of(source: list[Event], kind: str) -> dict[str, torch.Tensor]:
    saved = torch.load(newest(source, kind).path, weights_only=True)
    return dict(saved if kind == "best" else saved["state"]["model"])


@pytest.mark.parametrize("kind", ["best", "last"])
@pytest.mark.parametrize("reset", [False, True])
def test_all_weights_are_those_of_the_checkpoint_but_for_a_head_that_begins_anew(
    source, kind, reset, tmp_path
):
    spec = make_spec(**from_job(kind, reset_head=reset), **STILL, **STEP, seed=5)
    ended = trained(begin(spec, tmp_path / "attempt-1", newest(source, kind)))
    given = weights_of(source, kind)
    fresh = build_model(spec, DIGITS).state_dict()
    parameters = {name for name in given if "running" not in name and "tracked" not in name}
    assert len(parameters) == 11
    for name in parameters:
        is_anew = reset and name.startswith("classifier.")
        assert torch.equal(ended[name], fresh[name] if is_anew else given[name]), name
        assert name.endswith("bias") or not torch.equal(given[name], fresh[name])
    # One batch was seen since.
    tracked = "norm1.num_batches_tracked"
    assert ended[tracked] == given[tracked] + 1


def test_the_best_and_the_last_are_not_the_same(source):
    best, last = (weights_of(source, kind)["conv1.weight"] for kind in ("best", "last"))
    assert not torch.equal(best, last)


def test_a_resumed_training_equals_one_that_was_never_interrupted_and_needs_no_other_job(
    source, tmp_path
):
    spec = make_spec(**from_job(), regularization=[{"kind": "dropout", "p": 0.2}])
    often = spec.model_copy(
        update={"training": spec.training.model_copy(update={"checkpoint_seconds": 1e-9})}
    )
    whole = begin(often, tmp_path / "attempt-1", newest(source, "best"))
    saved = next(
        one for one in whole if isinstance(one, CheckpointSaved) and (one.kind, one.step) == ("last", 6)
    )  # fmt: skip
    resumed = begin(spec, tmp_path / "attempt-2", None, [saved])
    assert isinstance(resumed[0], Started)
    assert resumed[0].first_step == 6
    assert outcome(together(until(saved, whole), resumed)) == outcome(whole)
    assert finished(whole).metrics != finished(source).metrics


def test_the_digest_of_the_checkpoint_is_a_fact_of_the_training(source, tmp_path):
    saved = newest(source, "best")
    spec = make_spec(**from_job(digest=saved.digest), **STEP)
    started, *_ = begin(spec, tmp_path / "a" / "attempt-1", saved)
    assert started.facts["initial_weights"] == saved.digest
    plain, *_ = begin(make_spec(**STEP), tmp_path / "b" / "attempt-1", None)
    assert "initial_weights" not in plain.facts


def test_a_damaged_checkpoint_is_not_begun_from(source, tmp_path):
    damaged = replace(newest(source, "best"), digest="0" * 32)
    with pytest.raises(DamagedFile):
        begin(make_spec(**from_job(), **STEP), tmp_path / "attempt-1", damaged)


def test_a_document_without_it_is_as_before():
    assert "init_from" not in make_spec().model_dump(mode="json")
    assert make_spec().init_from is None


TWO = make_info(name="two", classes=("a", "b"), class_counts=(900, 897))
OTHERS = [
    ({"model": {"name": "cnn", "width": 8}}, "/init_from/job", "4×1×3×3 in this model and 8×1×3×3"),
    (
        {"norm": {"kind": "none"}},
        "/init_from/job",
        "conv1.bias is missing in this model and 4 there",
    ),
    (
        {"weights": {"kind": "weight_norm"}},
        "/init_from/job",
        "is missing in this model",
    ),
]


@pytest.mark.parametrize(("options", "pointer", "words"), OTHERS)
def test_a_model_of_another_shape_is_refused_with_the_layer(options, pointer, words, source):
    spec = make_spec(**from_job(reset_head=True))
    (problem,) = check(spec, DIGITS, Source(make_spec(**options), DIGITS)).problems
    assert problem.pointer == pointer
    assert words in problem.detail
    assert "of job 7" in problem.detail
    assert problem.layer is not None


def test_a_head_for_other_classes_is_refused_unless_it_begins_anew():
    other = Source(make_spec(), TWO)
    (problem,) = check(make_spec(**from_job()), DIGITS, other).problems
    assert (problem.pointer, problem.layer) == ("/init_from/reset_head", "classifier")
    assert "classifier.bias is 10 in this model and 2 there" in problem.detail
    assert "reset_head: true" in (problem.remedy or "")
    assert check(make_spec(**from_job(reset_head=True)), DIGITS, other).problems == ()
    assert check(make_spec(**from_job()), DIGITS, Source(make_spec(), DIGITS)).problems == ()


def test_weights_that_do_not_fit_are_refused_by_the_training_too(source, tmp_path):
    spec = make_spec(**from_job(), **STEP, norm={"kind": "none"})
    with pytest.raises(ModelError, match="do not fit") as error:
        begin(spec, tmp_path / "attempt-1", newest(source, "best"))
    assert error.value.pointer == "/init_from/job"


def test_every_step_is_taken(source, tmp_path):
    events = begin(make_spec(**from_job()), tmp_path / "attempt-1", newest(source, "last"))
    assert [one.step for one in events if isinstance(one, Stepped)] == list(range(1, 13))
