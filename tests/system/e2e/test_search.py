"""Studies whose jobs depend on results, through the whole service: a search's trials in batches, and looks until a study
is decided; by real workers that are killed on the way, in SQL and in MLflow."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from tests.support.mlflow_reading import runs as mlflow_runs
from tests.support.stack import Stack
from tests.support.waiting import wait_for

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "searched",
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd"},
        "training": {"epochs": 3},
    },
    "variants": {
        "none": {"norm": {"kind": "none"}},
        "group": {"norm": {"kind": "group", "groups": 4}},
    },
    "seeds": 2,
    "search": {
        "space": {
            "optimizer.lr": {"kind": "float", "low": 0.001, "high": 1.0, "log": True},
            "norm.groups": {
                "kind": "categorical",
                "values": [2, 4],
                "when": {"norm.kind": "group"},
            },
        },
        "trials": 9,
        "seeds": [100],
        "sampler": {"kind": "tpe", "startup": 3, "batch": 3},
        "stop": {"kind": "halving", "finishers": 0.5},
    },
}


#: Twenty channels are no eight groups, and a million steps take longer than a trial may.
BOUNDED: dict[str, Any] = {
    "version": 1,
    "name": "bounded",
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd"},
        "training": {"steps": 100, "eval_every": 100},
        "resources": {"timeout": 30},
    },
    "variants": {"group": {"norm": {"kind": "group", "groups": 4}}},
    "seeds": 2,
    "search": {
        "space": {
            "model.hidden": {"kind": "categorical", "values": [[16], [20]]},
            "norm.groups": {"kind": "categorical", "values": [4, 8]},
            "training.steps": {
                "kind": "categorical",
                "values": [100, 1_000_000],
                "when": {"norm.groups": 8},
            },
        },
        "trials": 5,
        "seeds": [100],
        # Neither the first trial nor the ends of the ranges are of those that don't fit: the submission would be refused.
        "sampler": {"kind": "tpe", "seed": 1, "startup": 1, "batch": 1},
    },
}


def test_a_search_passes_over_what_cannot_be_trained_and_goes_on_after_a_trial_that_ran_out_of_time(
    stack: Stack,
) -> None:
    study = stack.post("/studies", BOUNDED)["id"]
    stack.normlab("pause", f"s{study}")
    wait_for(lambda: stack.get(f"/studies/{study}")["counts"]["running"] == 0, "it stands", 200)
    stack.normlab("resume", f"s{study}")
    ended = stack.wait(f"/studies/{study}", 400)
    assert ended["search"] == {
        "trials": 4, "made": 4, "succeeded": 3, "failed": 1, "refused": 2,
    }  # fmt: skip
    (arm,) = ended["tuning"]["arms"]
    ends = {json.dumps(one["setting"], sort_keys=True): one["failed"] for one in arm["tried"]}
    assert Counter(ends.values()) == {None: 3, "timeout": 1}
    (slow,) = (one for one in arm["tried"] if one["failed"])
    assert slow["setting"]["training.steps"] == 1_000_000
    assert not slow["chosen"]
    misfits = arm["searched"]["refused"]
    assert {one["setting"]["training.steps"] for one in misfits} == {100, 1_000_000}
    assert all("must divide the 20 channels" in one["why"] for one in misfits)
    assert arm["searched"]["exhausted_after"] == 4
    own = stack.items("/results", study=study)
    assert [one["status"] for one in own] == ["succeeded"] * 2
    words = (
        "3 of 4 trials have succeeded, 1 has failed, 2 settings that can't be trained were skipped"
    )
    assert f"search: {words}" in stack.normlab("show", f"s{study}")
    report = stack.normlab("report", f"s{study}", "--format", "markdown")
    assert "group had 4 trials of 5: its space has no others that can be trained" in report
    assert "failed: timeout" in report


def test_a_search_runs_to_its_comparison_and_survives_the_death_of_its_processes(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "searched.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT))
    said = stack.normlab("validate", str(file))
    assert "at most 18 trials (6 at once, 12 as results come in), then 4 jobs" in said
    study = stack.post("/studies", DOCUMENT)["id"]
    wait_for(lambda: stack.get(f"/studies/{study}")["search"]["made"] > 6, "a second batch", 300)
    # Whatever they were about to write is written by those that come after them.
    for name in ("sweep", "worker"):
        os.kill(stack.process(name)["pid"], signal.SIGKILL)
    ended = stack.wait(f"/studies/{study}", 400)
    assert ended["status"] == "succeeded"
    assert ended["search"] == {
        "trials": 18, "made": 18, "succeeded": 18, "failed": 0, "refused": 0,
    }  # fmt: skip
    arms = {one["arm"]: one for one in ended["tuning"]["arms"]}
    assert {name: len(one["tried"]) for name, one in arms.items()} == {"none": 9, "group": 9}
    for name, arm in arms.items():
        settings = [one["setting"] for one in arm["tried"]]
        assert all(settings.count(one) == 1 for one in settings)
        assert all(("norm.groups" in one) == (name == "group") for one in settings)
        # Of nine trials, those of two batches may be stopped, and half of nine at most.
        stopped = [one for one in arm["tried"] if one["stopped"] is not None]
        assert 0 < len(stopped) <= 4
        assert not any(one["chosen"] for one in stopped)
        assert all(one["stopped"] is None for one in arm["tried"][:3])
    for row in stack.items("/results", study=study, trials=True):
        if row["trial"] and row["metrics"].get("stopped_period"):
            assert row["reason"] == "early_stopped"
            assert row["metrics"]["epochs"] == row["metrics"]["stopped_period"] < 3
    for row in stack.items("/results", study=study):
        (setting,) = (one["setting"] for one in arms[row["variant"]]["tried"] if one["chosen"])
        spec = stack.get(f"/jobs/{row['job_id']}")["spec"]
        assert spec["optimizer"]["lr"] == setting["optimizer.lr"]
    shown = stack.normlab("show", f"s{study}")
    assert "search: 18 of 18 trials have succeeded" in shown
    assert f"s{study}: 18 of 18 trials have succeeded" in stack.normlab("wait", f"s{study}")

    def mirrored() -> bool:
        runs = mlflow_runs(stack, f"tags.`normlab.study` = '{study}'")
        kinds = Counter(
            "normlab.trial" in one["tags"] for one in runs if "normlab.job" in one["tags"]
        )
        return kinds == {True: 18, False: 4}

    wait_for(mirrored, "MLflow has every trial", 200)


def growing(seeds: str, other: dict[str, Any]) -> dict[str, Any]:
    """Two variants: the other one differs from the first in these fields."""
    return {
        "version": 1,
        "name": "growing",
        "base": {
            "dataset": {"name": "digits"},
            "model": {"name": "mlp", "hidden": [16]},
            "norm": {"kind": "none"},
            "optimizer": {"kind": "sgd", "lr": 0.1},
            "training": {"epochs": 2},
        },
        "variants": {"first": {}, "other": other},
        "seeds": seeds,
    }


def test_a_study_whose_variants_differ_much_stops_at_its_first_look(
    stack: Stack, tmp_path: Path
) -> None:
    # It learns nothing.
    document = growing("until decided, at most 16", {"optimizer": {"lr": 1e-9}})
    file = tmp_path / "decided.yaml"
    file.write_text(yaml.safe_dump(document))
    planned = stack.normlab("plan", str(file))
    assert "Jobs: 16 cells (2 variants × 1 point × 8 seeds), at most 32 with 16 seeds" in planned
    assert "8 to 16 seeds: after 8 and 16 the comparisons are looked at" in planned.replace(
        "\n", " "
    )
    study = stack.post("/studies", document)["id"]
    ended = stack.wait(f"/studies/{study}", 400)
    assert (ended["status"], ended["counts"]["succeeded"]) == ("succeeded", 16)
    assert (ended["growth"]["state"], ended["growth"]["look"]) == ("stopped", 1)
    comparison = stack.get(f"/studies/{study}/comparison")
    assert comparison["verdict"]["state"] == "decided"
    assert comparison["variants"][1]["difference"]["decision"] == "worse"
    said = "until decided: stopped at look 1 of 2, with 8 of at most 16 seeds"
    assert said in stack.normlab("show", f"s{study}")


def test_a_study_whose_variants_are_alike_goes_on_to_its_last_look_over_dead_workers(
    stack: Stack,
) -> None:
    # Too little to change a prediction.
    decay = {"regularization": [{"kind": "weight_decay", "value": 1e-12}]}
    study = stack.post("/studies", growing("until decided, at most 12", decay))["id"]
    wait_for(lambda: stack.get(f"/studies/{study}")["growth"]["look"] == 2, "the second look", 400)
    for name in ("sweep", "worker"):
        os.kill(stack.process(name)["pid"], signal.SIGKILL)
    ended = stack.wait(f"/studies/{study}", 400)
    assert (ended["status"], ended["counts"]["succeeded"]) == ("succeeded", 24)
    assert ended["growth"]["state"] == "exhausted"
    rows = stack.items("/results", study=study)
    assert Counter(row["seed"] for row in rows) == dict.fromkeys(range(12), 2)
    comparison = stack.get(f"/studies/{study}/comparison")
    assert (comparison["verdict"]["state"], comparison["plan"]["look"]) == ("undecided", 2)
