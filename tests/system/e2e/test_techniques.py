"""Techniques of the catalogue through every process: what a job says of them, over REST and in MLflow."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.catalogue import CATALOGUE, SECTIONS
from tests.support.mlflow_reading import history, run_of_job
from tests.support.stack import Stack
from tests.support.waiting import wait_for

VARIANTS: dict[str, Any] = {
    "evonorm": {"norm": {"kind": "evonorm", "groups": 2}},
    "renorm": {"norm": {"kind": "batch_renorm", "plain_steps": 4}},
    "standardized": {
        "norm": {"kind": "group", "groups": 2},
        "weights": {"kind": "standardization"},
    },
    "averaged": {"regularization": [{"kind": "mixup"}, {"kind": "ema", "decay": 0.8}]},
    "augmented": {
        "augmentation": [{"kind": "padded_crop", "padding": 1}, {"kind": "rand_augment"}]
    },
}
STUDY: dict[str, Any] = {
    "project": "techniques",
    "name": "some of each",
    "base": {
        "dataset": {"name": "digits", "train_size": 200},
        "model": {"name": "cnn", "width": 4},
        "norm": {"kind": "batch"},
        "training": {"epochs": 2, "batch_size": 64},
        "diagnostics": {"kind": "epoch"},
    },
    "variants": VARIANTS,
    "seeds": 1,
}
REGRESSION: dict[str, Any] = {
    "project": "techniques",
    "dataset": {"name": "polynomial_noise", "train_size": 30},
    "task": {"kind": "regression"},
    "model": {"name": "polynomial", "degree": 3},
    "norm": {"kind": "none"},
    "training": {"epochs": 12, "batch_size": 10},
    "early_stopping": {"kind": "generalization_loss", "alpha": 1000.0},
}


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> dict[str, dict[str, Any]]:
    """The finished jobs by variant."""
    number = stack.post("/studies", STUDY)["id"]
    assert stack.wait(f"/studies/{number}")["status"] == "succeeded"
    return {job["variant"]: job for job in stack.items(f"/studies/{number}/jobs")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_technique_trains_and_is_looked_into(
    stack: Stack, jobs: dict[str, dict[str, Any]], variant: str
) -> None:
    job = jobs[variant]
    assert job["reason"] == "completed"
    assert job["metrics"]["test_accuracy"] is not None
    looks = stack.items(f"/jobs/{job['id']}/diagnostics")
    assert {(one["epoch"], one["step"]) for one in looks} == {(1, 4), (2, 8)}
    assert {one["layer"] for one in looks} >= {"norm1", "conv1", "network"}


def test_what_was_seen_is_in_mlflow(stack: Stack, jobs: dict[str, dict[str, Any]]) -> None:
    number = jobs["renorm"]["id"]
    looks = stack.items(f"/jobs/{number}/diagnostics", layer="norm1")
    run = wait_for(lambda: run_of_job(stack, number), "the job's run is closed in MLflow")
    assert history(stack, run["id"], "diagnostics/norm1/after_p50") == [
        {"step": one["epoch"], "value": pytest.approx(one["statistics"]["after_p50"])}
        for one in looks
    ]


def test_a_regression_is_told_by_its_loss_and_by_what_other_rules_had_done(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "regression.yaml"
    file.write_text(yaml.safe_dump(REGRESSION))
    said = stack.normlab("submit", str(file), "--wait")
    assert "test loss" in said
    number = max(job["id"] for job in stack.items("/jobs", project="techniques"))
    job = stack.get(f"/jobs/{number}")
    assert "test_accuracy" not in job["metrics"]
    assert job["metrics"]["test_loss"] > 0
    epochs = stack.items(f"/jobs/{number}/epochs")
    assert all(one["val_accuracy"] is None for one in epochs)
    assert len(epochs) == 12


def test_a_picture_of_augmented_images_is_written(stack: Stack, tmp_path: Path) -> None:
    spec, out = tmp_path / "spec.yaml", tmp_path / "preview.png"
    spec.write_text(yaml.safe_dump({"augmentation": VARIANTS["augmented"]["augmentation"]}))
    stack.normlab("dataset", "preview", "digits", "--spec", str(spec), "--out", str(out))
    assert out.read_bytes().startswith(b"\x89PNG\r\n")


def test_the_catalogue_is_told_in_the_command(stack: Stack) -> None:
    assert "Krizhevsky et al. 2012" in stack.normlab("catalog", "norms")
    assert "torch divides alpha by n" in stack.normlab("catalog", "norms", "lrn")
    stack.normlab("catalog", "nothing", expect=1)


def test_a_folder_of_specs_is_validated_and_what_is_wrong_is_told(
    stack: Stack, tmp_path: Path
) -> None:
    """One of each section; that every entry passes the check is asked where nothing has to be started for it."""
    firsts = [f"{section}/{next(iter(entries))}" for section, entries in SECTIONS.items()]
    for number, name in enumerate(firsts):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(CATALOGUE[name]))
    bad = {**STUDY["base"], "norm": {"kind": "group", "groups": 3}}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad))
    said = stack.normlab("validate", str(tmp_path), expect=1)
    assert said.splitlines()[-1] == f"{len(firsts)} of {len(firsts) + 1} are valid"
    (tmp_path / "bad.yaml").unlink()
    said = stack.normlab("validate", str(tmp_path))
    assert said.splitlines()[-1] == f"{len(firsts)} of {len(firsts)} are valid"
