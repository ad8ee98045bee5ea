"""From a spec to an answer through every process: REST, SQL, Celery, PyTorch, MLflow, comparison."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from tests.support.mlflow_reading import (
    experiments,
    finished_runs,
    history,
    mlflow_post,
    run_of_job,
)
from tests.support.stack import SHARED_DATA, Stack
from tests.support.waiting import wait_for

SEEDS = 8
STUDY: dict[str, Any] = {
    "project": "digits",
    "name": "end-to-end",
    "base": {
        "dataset": {"name": "digits", "train_size": 300},
        "model": {"name": "cnn", "width": 4},
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "training": {"epochs": 3, "batch_size": 64},
        "early_stopping": {"kind": "patience", "patience": 1},
    },
    "variants": {
        "none": {"norm": {"kind": "none"}},
        "group": {"norm": {"kind": "group", "groups": 2}},
    },
    "seeds": SEEDS,
    "baseline": "none",
}
DIVERGING: dict[str, Any] = {
    "project": "digits",
    "dataset": {"name": "digits", "train_size": 200},
    "model": {"name": "mlp", "hidden": [16, 16]},
    "norm": {"kind": "none"},
    "optimizer": {"kind": "sgd", "lr": 1e30},
    "training": {"epochs": 3},
}


@pytest.fixture(scope="module")
def study(stack: Stack) -> dict[str, Any]:
    submitted = stack.post("/studies", STUDY)
    finished: dict[str, Any] = stack.wait(f"/studies/{submitted['id']}")
    return finished


def test_every_cell_of_the_study_succeeds(stack: Stack, study: dict[str, Any]) -> None:
    jobs = stack.items(f"/studies/{study['id']}/jobs")
    assert study["status"] == "succeeded"
    assert {(job["variant"], job["seed"]) for job in jobs} == {
        (variant, seed) for variant in ("none", "group") for seed in range(SEEDS)
    }
    assert {job["reason"] for job in jobs} <= {"completed", "early_stopped"}


def test_the_comparison_equals_scipy_over_the_results(stack: Stack, study: dict[str, Any]) -> None:
    rows = stack.items("/results", study=study["id"])
    values = {
        variant: np.array([
            row["metrics"]["test_accuracy"]
            for row in sorted(rows, key=lambda row: row["seed"])
            if row["variant"] == variant
        ])
        for variant in ("none", "group")
    }  # fmt: skip
    compared = stack.get(f"/studies/{study['id']}/comparison")
    assert [one["variant"] for one in compared["variants"]] == ["none", "group"]
    for one in compared["variants"]:
        x = values[one["variant"]]
        assert one["n"] == SEEDS == len(x)
        assert one["mean"] == pytest.approx(x.mean(), abs=1e-12)
        assert one["std"] == pytest.approx(x.std(ddof=1), abs=1e-12)
        expected = stats.t.interval(0.95, SEEDS - 1, x.mean(), stats.sem(x))
        assert one["interval"] == pytest.approx(expected, abs=1e-12)
    test = stats.ttest_rel(values["group"], values["none"])
    difference = compared["variants"][1]["difference"]
    assert difference["mean"] == pytest.approx((values["group"] - values["none"]).mean(), abs=1e-12)
    assert difference["interval"] == pytest.approx(tuple(test.confidence_interval()), abs=1e-12)
    assert difference["p_value"] == pytest.approx(test.pvalue, abs=1e-12)


def test_a_clean_study_has_consequences_and_no_confounds(
    stack: Stack, study: dict[str, Any]
) -> None:
    """What the workers recorded of each training tells the norm's own from what nobody declared."""
    compared = stack.get(f"/studies/{study['id']}/comparison")
    assert {(one["kind"], one["declared"]) for one in compared["confounds"]} == {
        ("norm_parameters", None), ("bias_parameters", None),
    }  # fmt: skip
    assert all(one["causes"] for one in compared["confounds"])
    assert compared["verdict"]["state"] in ("decided", "undecided")
    assert compared["best"]["metric"] == "best_val_accuracy"


def test_a_stranger_finds_the_answer_with_the_commands_of_the_readme(
    stack: Stack, study: dict[str, Any]
) -> None:
    said = stack.normlab("compare", f"s{study['id']}")
    verdict = stack.get(f"/studies/{study['id']}/comparison")["verdict"]
    assert " ".join(said.split()).startswith(verdict["sentence"])
    link = wait_for(
        lambda: stack.get(f"/studies/{study['id']}")["mlflow_url"], "the study has a run in MLflow"
    )
    shown = stack.normlab("show", f"s{study['id']}")
    assert f"MLflow: {link}" in shown
    report = stack.normlab("report", f"s{study['id']}")
    assert report.startswith("<!doctype html>")
    assert "data:image/png;base64," in report


def test_a_study_leaves_as_files_that_need_no_normlab(
    stack: Stack, study: dict[str, Any], tmp_path: Path
) -> None:
    folder, name = tmp_path / "all", f"s{study['id']}"
    said = stack.normlab("export", "--everything", str(folder), "--study", name)
    assert f"studies 1, jobs {2 * SEEDS}, " in said
    epochs = pandas.read_parquet(folder / "epochs.parquet").set_index(["job_id", "epoch"])
    job = stack.items(f"/studies/{study['id']}/jobs")[0]
    for epoch in stack.items(f"/jobs/{job['id']}/epochs"):
        assert epochs.loc[(job["id"], epoch["epoch"])]["val_loss"] == epoch["val_loss"]
    stack.normlab("download", f"j{job['id']}", "--weights", "--to", str(tmp_path / "job"))
    original = torch.load(tmp_path / "job" / "best.pt", weights_only=True)
    exported = load_file(folder / "jobs" / f"j{job['id']}" / "best.safetensors")
    assert exported.keys() == original.keys()
    assert all(torch.equal(exported[name], value) for name, value in original.items())
    for spec in [
        *folder.glob("studies/*/spec.yaml"),
        folder / "jobs" / f"j{job['id']}" / "spec.yaml",
    ]:
        stack.normlab("validate", str(spec))


def test_mlflow_has_the_same_jobs_with_every_point_once(
    stack: Stack, study: dict[str, Any]
) -> None:
    jobs = {str(job["id"]): job for job in stack.items(f"/studies/{study['id']}/jobs")}
    runs = wait_for(lambda: finished_runs(stack, study["id"], len(jobs)), "MLflow has all runs")
    assert {run["tags"]["normlab.job"] for run in runs} == set(jobs)
    for run in runs:
        job = jobs[run["tags"]["normlab.job"]]
        assert run["metrics"]["test/accuracy"] == job["metrics"]["test_accuracy"]
        assert run["metrics"]["best/val_accuracy"] == job["metrics"]["best_val_accuracy"]
        epochs = stack.items(f"/jobs/{job['id']}/epochs")
        points = [
            (point["step"], point["value"]) for point in history(stack, run["id"], "val/accuracy")
        ]
        assert points == [(epoch["epoch"], epoch["val_accuracy"]) for epoch in epochs]
    # From a terminal in which nobody has said on which ports the stack was started.
    verified = stack.run("mirror", "verify", NORMLAB_MLFLOW_PORT="5000")
    assert "MLflow has the same" in verified.stdout, verified.stderr


def test_the_best_model_of_each_variant_opens_from_mlflow(
    stack: Stack, study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    def models() -> list[dict[str, Any]]:
        ours = {run["id"] for run in finished_runs(stack, study["id"], 2 * SEEDS)}
        answer = mlflow_post(stack, "logged-models/search", {"experiment_ids": experiments(stack)})
        found = [one["info"] for one in answer.get("models", [])]
        ready = [
            info
            for info in found
            if info["source_run_id"] in ours and info["status"] == "LOGGED_MODEL_READY"
        ]
        return ready if len(ready) == 2 else []

    found = wait_for(models, "each variant's best model is in MLflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.mlflow_url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", (stack.home / "token").read_text().strip())
    mlflow.set_tracking_uri(stack.mlflow_url)
    model = mlflow.pytorch.load_model(f"models:/{found[0]['model_id']}")
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_a_diverging_job_is_a_result_everywhere(stack: Stack) -> None:
    submitted = stack.post("/jobs", DIVERGING)
    job = stack.wait(f"/jobs/{submitted['id']}")
    assert (job["status"], job["reason"]) == ("succeeded", "diverged")
    epochs = stack.items(f"/jobs/{job['id']}/epochs")
    assert epochs[-1]["train_loss"] is None
    assert epochs[-1]["non_finite"]["train_loss"] in ("nan", "inf")
    row = next(row for row in stack.items("/results") if row["job_id"] == job["id"])
    assert row["reason"] == "diverged"
    run = wait_for(lambda: run_of_job(stack, job["id"]), "the diverged job is in MLflow")
    assert run["info"]["status"] == "FINISHED"


def test_a_study_with_a_diverging_variant_is_compared_by_a_stated_rule(stack: Stack) -> None:
    base = {key: value for key, value in DIVERGING.items() if key not in ("project", "optimizer")}
    variants = {
        "calm": {"optimizer": {"kind": "sgd", "lr": 0.01}},
        "wild": {"optimizer": {"kind": "sgd", "lr": 1e30}},
    }
    submitted = stack.post(
        "/studies", {"name": "wild", "base": base, "variants": variants, "seeds": 2}
    )
    assert stack.wait(f"/studies/{submitted['id']}")["status"] == "succeeded"
    compared = stack.get(f"/studies/{submitted['id']}/comparison")
    calm, wild = compared["variants"]
    assert (calm["diverged"], wild["diverged"]) == (0, 2)
    assert any(
        note.startswith("wild: 2 jobs diverged and count: 2 with what guessing")
        for note in compared["notes"]
    )


@pytest.mark.shared_data
def test_real_images_from_a_parquet_folder(stack: Stack) -> None:
    if not SHARED_DATA.exists():
        pytest.skip(f"no real images at {SHARED_DATA}")
    source = {"kind": "parquet", "path": str(SHARED_DATA / "mnist10k")}
    stack.post("/datasets", {"name": "mnist10k", "source": source})
    ready = wait_for(
        lambda: (
            one if (one := stack.get("/datasets/mnist10k"))["status"] != "registering" else None
        ),
        "the data set is decoded",
    )
    assert ready["status"] == "ready", ready
    assert ready["info"]["shape"] == [1, 28, 28]
    job = stack.post("/jobs", {
        "dataset": {"name": "mnist10k", "train_size": 2000},
        "model": {"name": "cnn", "width": 8},
        # Running statistics of a hundred steps would make the last bits of a machine decide the result.
        "norm": {"kind": "group", "groups": 4},
        "optimizer": {"kind": "adam", "lr": 0.01},
        "training": {"epochs": 8},
    })  # fmt: skip
    done = stack.wait(f"/jobs/{job['id']}")
    assert done["status"] == "succeeded"
    assert done["metrics"]["test_accuracy"] > 0.6


def test_tokens_decide_who_may_do_what(stack: Stack) -> None:
    base = str(stack.api.base_url)
    assert httpx.get(f"{base}jobs").status_code == 401
    with ExitStack() as closing:
        clients = {}
        for name, role in (("vera", "viewer"), ("mia", "member"), ("max", "member")):
            stack.post("/users", {"name": name, "role": role})
            secret = stack.post("/tokens", {"name": "test", "user": name})["secret"]
            headers = {"Authorization": f"Bearer {secret}"}
            client = httpx.Client(base_url=base, headers=headers, timeout=120)
            clients[name] = closing.enter_context(client)
        job = {**DIVERGING, "optimizer": {"kind": "sgd", "lr": 0.01}}
        assert clients["vera"].post("jobs", json=job).status_code == 403
        mine = clients["mia"].post("jobs", json=job).json()
        assert clients["max"].post(f"jobs/{mine['id']}/cancel").status_code == 403
        assert clients["vera"].get(f"jobs/{mine['id']}").status_code == 200
        assert clients["max"].post("jobs/999999/cancel").status_code == 404
