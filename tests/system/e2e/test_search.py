"""A search through the whole service: trials in batches by real workers, in SQL and in MLflow, one killed on the way."""

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


def test_a_search_runs_to_its_comparison_and_survives_the_death_of_its_processes(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "searched.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT))
    said = stack.normlab("validate", str(file))
    assert "18 trials (6 at once, 12 as results come in), then 4 jobs" in said
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
