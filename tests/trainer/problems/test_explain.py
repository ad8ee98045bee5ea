"""What validation finds is told with its place, in the words of the document, with the name that was meant."""

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from studies.spec.study import StudySpec
from trainer.problems.explain import MOST_PROBLEMS, problems
from trainer.problems.schema_walk import Model
from trainer.problems.suggestions import TORCHVISION
from trainer.spec.dataset import DatasetSource
from trainer.spec.job import JobSpec
from trainer.spec.report import Problem

MINIMAL = {"dataset": {"name": "digits"}, "model": {"name": "cnn"}, "norm": {"kind": "none"}}
STUDY = {"name": "norms", "variants": {"none": {}, "batch": {}}}


def find_problems(model: Model, document: Any) -> list[Problem]:
    adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(document)
    return list(problems(caught.value, document, model))


@pytest.mark.parametrize(
    ("change", "place", "detail"),
    [
        ({"norm": {"kind": "grp"}}, "/norm/kind", "must be one of 'none', 'batch'"),
        ({"norm": {}}, "/norm/kind", "required, but missing"),
        ({"norm": {"kind": "group", "groups": 8, "channels_per_group": 2}}, "/norm", "exactly one"),
        ({"norm": {"kind": "batch", "group": 3}}, "/norm/group", "unknown key"),
        ({"training": {"epochs": -1}}, "/training/epochs", "must be at least 1, but got -1"),
        ({"training": {"epochs": True}}, "/training/epochs", "must be an integer, but got true"),
        ({"training": {"steps": 5, "eval_every": 6}}, "/training", "6 > 5"),
        ({"training": {"steps": 5}}, "/training/eval_every", "required, but missing"),
        ({"optimizer": {"kind": "sgd", "lr": float("nan")}}, "/optimizer/lr", "finite number"),
        ({"optimizer": {"kind": "sgd", "lr": 0}}, "/optimizer/lr", "greater than 0"),
        ({"regularization": [{"kind": "l1"}]}, "/regularization/0/value", "required, but missing"),
        ({"regularization": [{"kind": "dropout", "p": 1.0}]}, "/regularization/0/p", "less than 1"),
        ({"model": {"name": "vgg"}}, "/model/name", "torchvision:<name>"),
        ({"model": {"name": "mlp", "hidden": []}}, "/model/hidden", "at least 1 item"),
        ({"early_stopping": {"kind": "patience", "monitor": "test_loss"}},
         "/early_stopping/monitor", "train_loss"),
        ({"resources": {"timeout": "soon"}}, "/resources/timeout", "like 90s, 30m, 2h"),
        ({"evaluations": [{"name": "best_val"}]}, "/evaluations/0/name", "are taken"),
        ({"version": 99}, "/version", "1"),
        ({"colour": "red"}, "/colour", "unknown key"),
        ({"schedule": {"kind": "cosine", "warmup_epochs": 15}}, "/schedule/warmup_epochs", "below the 15 evaluation"),
        ({"dataset": {"name": "../digits"}}, "/dataset/name", "must begin with a letter or digit"),
    ],
)  # fmt: skip
def test_a_problem_points_at_its_field(change: dict[str, object], place: str, detail: str) -> None:
    document = {**MINIMAL, **change}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(document)
    found = problems(caught.value, document, JobSpec)
    assert [one.pointer for one in found] == [place]
    assert detail in found[0].detail


@pytest.mark.parametrize(
    ("model", "change", "place", "meant"),
    [
        (JobSpec, {"optimiser": {}}, "/optimiser", "optimizer"),
        (JobSpec, {"training": {"epoch": 3}}, "/training/epoch", "epochs"),
        (JobSpec, {"training": {"steps": 9, "eval_evry": 3}}, "/training/eval_evry", "eval_every"),
        (JobSpec, {"evaluations": [{"splt": "val"}]}, "/evaluations/0/splt", "split"),
        (JobSpec, {"norm": {"kind": "grp"}}, "/norm/kind", "group"),
        (JobSpec, {"norm": {"kind": "BatchNorm2d"}}, "/norm/kind", "batch"),
        (JobSpec, {"norm": {"kind": "layer_norm"}}, "/norm/kind", "layer"),
        (JobSpec, {"optimizer": {"kind": "SGD"}}, "/optimizer/kind", "sgd"),
        (JobSpec, {"model": {"name": "resnet18"}}, "/model/name", "torchvision:resnet18"),
        (JobSpec, {"model": {"name": "torchvison:vgg11"}}, "/model/name", "torchvision:vgg11"),
        (JobSpec, {"model": {"name": "vit_smal"}}, "/model/name", "vit_small"),
        (JobSpec, {"early_stopping": {"kind": "patience", "monitor": "val_acc"}},
         "/early_stopping/monitor", "val_accuracy"),
        (StudySpec, {"variant": {}}, "/variant", "variants"),
        (StudySpec, {"baseline": "bacth"}, "/baseline", "batch"),
        (StudySpec, {"splits": "resample"}, "/splits", "resampled"),
        (StudySpec, {"threshold": {"metric": "accuracy", "value": 1}}, "/threshold/metric", "val_accuracy"),
        (StudySpec, {"claims": [{"name": "a", "says": "b", "above": {"none": 1},
                                 "statistic": {"kind": "curve", "column": "val_acc"}}]},
         "/claims/0/statistic/column", "val_accuracy"),
    ],
)  # fmt: skip
def test_the_name_that_was_meant_is_suggested(
    model: type[BaseModel], change: dict[str, Any], place: str, meant: str
) -> None:
    document = {**(MINIMAL if model is JobSpec else STUDY), **change}
    said = {one.pointer: one.detail for one in find_problems(model, document)}
    assert said[place].endswith(f"; did you mean {meant!r}?")


@pytest.mark.parametrize(
    ("model", "document", "place", "allowed"),
    [
        (JobSpec, {**MINIMAL, "colour": 1}, "/colour", "version, project, dataset, task"),
        (JobSpec, {**MINIMAL, "norm": {"kind": "batch", "width": 3}}, "/norm/width", "kind, eps"),
        (JobSpec, {**MINIMAL, "regularization": [{"kind": "l1", "value": 1.0, "q": 1}]},
         "/regularization/0/q", "kind, value"),
        (JobSpec, {**MINIMAL, "norm": {}}, "/norm/kind", "none, batch, layer"),
        (JobSpec, {**MINIMAL, "model": {}}, "/model/name", "mlp, cnn"),
        (StudySpec, {**STUDY, "colour": 1}, "/colour", "version, project, name"),
        (StudySpec, {**STUDY, "figure": [{"panel": "bars", "statistics": ["x"], "bar": 1}]},
         "/figure/0/bar", "title, arms, panel, statistics"),
        (StudySpec, {**STUDY, "claims": [{"name": "a", "says": "b", "above": {"none": 1},
                                          "statistic": {"kind": "log10", "of": {"kind": "diverged", "x": 1}}}]},
         "/claims/0/statistic/of/x", "kind"),
        (TypeAdapter(DatasetSource), {"kind": "generated", "generator": "moons", "sise": 9},
         "/sise", "kind, generator, size, noise, seed"),
    ],
)  # fmt: skip
def test_the_keys_that_are_allowed_are_listed(
    model: Model, document: Any, place: str, allowed: str
) -> None:
    remedies = {one.pointer: one.remedy or "" for one in find_problems(model, document)}
    assert allowed in remedies[place]


@pytest.mark.parametrize(
    ("change", "details"),
    [
        ({"seeds": "many"}, {"/seeds": "must be a number, a list of seeds or 'until decided, at most 40', but got 'many'"}),
        ({"seeds": 0}, {"/seeds": "must be at least 1, but got 0"}),
        ({"seeds": [1, "x"]}, {"/seeds/1": 'must be an integer, but got "x"'}),
        # What is wrong with its only item doesn't make it too short.
        ({"seeds": [-1]}, {"/seeds/0": "must be at least 0, but got -1"}),
        ({"seeds": []}, {"/seeds": "must have at least 1 item, but got []"}),
        ({"matrix": []}, {"/matrix": "must be a mapping of keys to values, but got []"}),
        ({"matrix": {"training.epochs": []}}, {"/matrix/training.epochs": "must have at least 1 item, but got []"}),
        ({"margin": 0}, {"/margin": "must be greater than 0, but got 0"}),
        ({"description": 5}, {"/description": "must be text, but got 5"}),
    ],
)  # fmt: skip
def test_a_value_of_several_types_is_one_problem_in_plain_words(
    change: dict[str, Any], details: dict[str, str]
) -> None:
    found = find_problems(StudySpec, {**STUDY, **change})
    assert {one.pointer: one.detail for one in found} == details
    assert len(found) == len(details)


def test_of_many_problems_the_first_are_told() -> None:
    document = {**MINIMAL, **{f"colour{number}": 1 for number in range(5000)}}
    assert len(find_problems(JobSpec, document)) == MOST_PROBLEMS


def test_the_models_that_are_suggested_are_those_of_torchvision() -> None:
    from torchvision import models

    assert set(models.list_models(module=models)) == TORCHVISION
