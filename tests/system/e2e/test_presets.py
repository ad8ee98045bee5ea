"""Every preset at toy scale through the whole service, and its verdicts' numbers computed anew from what REST
gives; equal tuning budgets with real workers."""

import json
from typing import Any

import pytest

from store.results.series import LayerSnapshot
from studies.claims.measure import measure
from studies.comparison.evidence import JobRecord
from studies.presets import presets
from studies.spec.claims import Claim
from studies.spec.expand import arm_name
from tests.support.mlflow_reading import runs as mlflow_runs
from tests.support.result_rows import make_row
from tests.support.stack import Stack
from tests.support.waiting import wait_for

NAMES = list(presets())
ONE: dict[str, Any] = {"seeds": 1}
SEEDS: dict[str, dict[str, Any]] = {"batch-size-sensitivity": {}}


@pytest.fixture(scope="module")
def runs(stack: Stack) -> dict[str, int]:
    """All of the catalogue, submitted at once; each with one seed, but for one with as many as it says."""
    return {
        name: stack.post(f"/presets/{name}/runs", {"scale": "toy", **SEEDS.get(name, ONE)})["id"]
        for name in NAMES
    }


def records(stack: Stack, study: int) -> dict[str, dict[int, JobRecord]]:
    """By arm and seed, from REST alone."""
    found: dict[str, dict[int, JobRecord]] = {}
    for row in stack.items("/results", study=study):
        path = f"/jobs/{row['job_id']}"
        looks = [
            LayerSnapshot(one["layer"], one["step"], one["statistics"])
            for one in stack.items(f"{path}/diagnostics")
        ]
        told = {name: row[name] for name in ("point", "status", "reason", "metrics")}
        job = make_row(row["job_id"], row["variant"], row["seed"], None, facts=None, **told)
        record = JobRecord(job, stack.items(f"{path}/epochs"), looks)
        found.setdefault(arm_name(job.variant, job.point), {})[job.seed] = record
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_runs_and_each_claim_has_its_numbers(
    stack: Stack, runs: dict[str, int], name: str
) -> None:
    study = stack.wait(f"/studies/{runs[name]}", 400)
    assert study["status"] == "succeeded"
    claims = [Claim.model_validate(one) for one in study["spec"]["claims"]]
    verdicts = stack.get(f"/studies/{study['id']}/verdicts")["items"]
    assert [one["name"] for one in verdicts] == [one.name for one in claims]
    jobs = records(stack, study["id"])
    for claim, verdict in zip(claims, verdicts, strict=True):
        assert verdict["verdict"] == "undecided"
        assert "a verdict needs 8" in verdict["sentence"]
        assert verdict["arms"], name
        for arm in verdict["arms"]:
            assert arm["n"] == len(study["planned_seeds"]), (claim.name, verdict["reasons"])
            for seed, value in arm["values"].items():
                peers = {other: by_seed[int(seed)] for other, by_seed in jobs.items()}
                again = measure(claim.statistic, jobs[arm["arm"]][int(seed)], peers)
                assert value == pytest.approx(again, rel=1e-9, abs=1e-12)


def test_verdicts_figure_and_report_are_kept_and_mirrored(
    stack: Stack, runs: dict[str, int]
) -> None:
    study = runs["batch-size-sensitivity"]
    stack.wait(f"/studies/{study}", 400)
    files = wait_for(
        lambda: {one["name"] for one in stack.items(f"/studies/{study}/files")}, "files are kept"
    )
    assert "report.html" in files
    (run,) = stack.items("/presets/batch-size-sensitivity/runs")
    assert [one["verdict"] for one in run["verdicts"]] == ["undecided"] * 3

    def noted() -> dict[str, str] | None:
        of_study = [
            one["tags"]
            for one in mlflow_runs(stack, f"tags.`normlab.study` = '{study}'")
            if "normlab.job" not in one["tags"]
        ]
        return next((tags for tags in of_study if "normlab.verdicts" in tags), None)

    tags = wait_for(noted, "MLflow has the verdicts")
    assert json.loads(tags["normlab.verdicts"]) == {
        "batch-norm-suffers": "undecided",
        "group-norm-is-flat": "undecided",
        "layer-norm-is-flat": "undecided",
    }
    assert json.loads(tags["normlab.preset"])["name"] == "batch-size-sensitivity"


def test_every_arm_has_the_same_budget_and_its_own_choice(
    stack: Stack, runs: dict[str, int]
) -> None:
    study = stack.wait(f"/studies/{runs['norms-compared']}", 400)
    arms = study["tuning"]["arms"]
    assert {one["arm"] for one in arms} == set(study["spec"]["variants"])
    assert {len(one["tried"]) for one in arms} == {1}
    trials = [
        row for row in stack.items("/results", study=study["id"], trials=True) if row["trial"]
    ]
    assert len(trials) == len(arms)
    assert not any(name.startswith("test") for row in trials for name in row["metrics"])
    for row in stack.items("/results", study=study["id"]):
        chosen = next(one for one in arms if one["arm"] == row["variant"])
        (setting,) = (one["setting"] for one in chosen["tried"] if one["chosen"])
        spec = stack.get(f"/jobs/{row['job_id']}")["spec"]
        assert spec["optimizer"]["lr"] == setting["optimizer.lr"]


def test_the_command_runs_a_preset_and_prints_its_verdicts(stack: Stack) -> None:
    said = stack.normlab("preset", "run", "dropout-features", "--scale", "toy", "--wait")
    assert "fewer-active" in said
    assert "undecided" in said
    assert "dropout-features" in stack.normlab("preset", "list")
    shown = stack.normlab("preset", "show", "dropout-features")
    assert "Srivastava et al. 2014" in shown
    assert "normlab preset run dropout-features --scale small --wait" in shown
