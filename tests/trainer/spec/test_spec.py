"""The job spec: what is filled in, what is equal, and what its hash covers."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import trainer.spec.job as job_module
from trainer.spec.dataset import DatasetSpec, Shift
from trainer.spec.job import Evaluation, JobSpec, Numerics, content_hash
from trainer.spec.optimization import EpochTraining
from trainer.spec.regularization import Dropout, WeightDecay

MINIMAL = {"dataset": {"name": "digits"}, "model": {"name": "cnn"}, "norm": {"kind": "none"}}


def spec(**change: Any) -> JobSpec:
    return JobSpec.model_validate({**MINIMAL, **change})


def test_a_spec_survives_its_json() -> None:
    full = spec(
        regularization=[{"kind": "weight_decay", "value": 5e-4}, {"kind": "dropout", "p": 0.2}],
        training={"steps": 3000, "eval_every": 250},
        resources={"timeout": "1h"},
    )
    assert JobSpec.model_validate_json(full.model_dump_json()) == full
    assert full.resources.timeout == 3600
    assert full.periods == 12


def test_a_regularizer_is_found_by_its_class() -> None:
    decayed = spec(regularization=[{"kind": "weight_decay", "value": 0.1}])
    assert decayed.regularizer(WeightDecay) == WeightDecay(kind="weight_decay", value=0.1)
    assert decayed.regularizer(Dropout) is None


def test_a_warmup_ends_before_a_last_period_that_is_cut_short() -> None:
    # Two periods of 250 steps, of which the second has 125: a warm-up of 1.5 would leave no step.
    short = {"steps": 375, "eval_every": 250}
    with pytest.raises(ValidationError, match=r"below the 1.5 evaluation periods but got 1\.5"):
        spec(training=short, schedule={"kind": "cosine", "warmup_epochs": 1.5})
    assert spec(training=short, schedule={"kind": "cosine", "warmup_epochs": 1.25})


@pytest.mark.parametrize(
    ("evaluation", "prefix"),
    [
        (Evaluation(), "test"),
        (Evaluation(weights="last"), "last_test"),
        (Evaluation(mode="mc_dropout", shift=Shift(noise=0.1)), "mc_dropout_shifted_test"),
        (Evaluation(split="train"), "final_train"),
        (Evaluation(name="robust", shift=Shift(noise=0.1)), "robust"),
    ],
)
def test_an_evaluation_names_its_metrics(evaluation: Evaluation, prefix: str) -> None:
    assert evaluation.prefix == prefix


@pytest.mark.parametrize(
    "change",
    [
        {"project": "other"},
        {"resources": {"priority": "urgent", "timeout": 5}},
        {"training": {"checkpoint_seconds": 1}},
    ],
)
def test_the_hash_ignores_what_changes_no_result(change: dict[str, Any]) -> None:
    assert content_hash(spec(**change), "digest") == content_hash(spec(), "digest")


def test_the_hash_covers_every_other_field() -> None:
    base = spec()
    others = {
        "dataset": {"name": "digits", "split_seed": 1},
        "model": {"name": "mlp"},
        "norm": {"kind": "batch"},
        "init": {"kind": "normal", "std": 0.1},
        "init_from": {"job": 7},
        "regularization": [{"kind": "l2", "value": 0.1}],
        "augmentation": [{"kind": "flip"}],
        "optimizer": {"kind": "adam"},
        "schedule": {"kind": "cosine"},
        "training": {"epochs": 3},
        "early_stopping": {"kind": "patience"},
        "evaluations": [],
        "seed": 1,
        "task": {"kind": "regression"},
        "weights": {"kind": "standardization"},
        "diagnostics": {"kind": "epoch"},
    }
    same_for_now = {"version", "project", "resources"}
    assert set(others) | same_for_now == set(JobSpec.model_fields)
    hashes = {content_hash(spec(**{key: value}), "digest") for key, value in others.items()}
    hashes |= {content_hash(base, "digest"), content_hash(base, "other data")}
    assert len(hashes) == len(others) + 2


@pytest.mark.parametrize("asked", [{"precision": "bf16"}, {"compile": True}])
def test_an_option_that_came_later_is_in_no_document_at_its_default(asked: dict[str, Any]) -> None:
    """Documents and hashes from before the option was there stay what they are."""
    [(field, value)] = asked.items()
    default = spec(training={field: EpochTraining.model_fields[field].default})
    assert field not in default.model_dump(mode="json")["training"]
    assert content_hash(default, "digest") == content_hash(spec(), "digest")
    changed = spec(training=asked)
    assert changed.model_dump(mode="json")["training"][field] == value
    assert content_hash(changed, "digest") != content_hash(spec(), "digest")
    assert JobSpec.model_validate_json(changed.model_dump_json()) == changed


def test_the_hash_covers_how_many_devices_share_a_batch() -> None:
    several = spec(resources={"devices": 2})
    assert content_hash(several, "digest") != content_hash(spec(), "digest")


def test_the_hash_of_a_spec_stays_what_it_is() -> None:
    assert content_hash(spec(), "digest") == "9d9f32667864438b5ace36f51b92c506"


def test_numerics_are_those_of_the_study_but_for_what_the_job_asks_for() -> None:
    decided = Numerics(device="cuda", threads=3)
    assert decided.for_job(spec().model_dump(mode="json")) == decided
    asked = spec(training={"precision": "bf16", "compile": True}).model_dump(mode="json")
    own = decided.for_job(asked)
    assert own == Numerics(device="cuda", threads=3, precision="bf16", compiled=True)
    assert own.for_job(spec().model_dump(mode="json")) == decided


def test_a_spec_of_an_older_version_is_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(document: dict[str, Any]) -> dict[str, Any]:
        return {**{k: v for k, v in document.items() if k != "net"}, "model": document["net"]}

    monkeypatch.setitem(job_module.UPGRADES, 0, rename)  # type: ignore[arg-type]
    old = {
        "version": 0,
        "dataset": {"name": "digits"},
        "net": {"name": "cnn"},
        "norm": {"kind": "none"},
    }
    assert JobSpec.model_validate(old) == spec()


def test_every_part_is_frozen_and_refuses_unknown_keys() -> None:
    def parts(model: type[BaseModel]) -> set[type[BaseModel]]:
        return {model}.union(*(parts(sub) for sub in model.__subclasses__()))

    from trainer.spec.part import Part

    for part in parts(Part):
        assert part.model_config["frozen"], part
        assert part.model_config["extra"] == "forbid", part
    with pytest.raises(ValueError, match="frozen"):
        DatasetSpec(name="digits").name = "other"  # type: ignore[misc]
