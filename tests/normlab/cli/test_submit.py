"""What the command says of a plan, of what was accepted, and how it writes a study to start from."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from normlab.cli.render.plan import bill_lines, show_plan
from normlab.cli.submit import _ask, init, show_accepted
from normlab.client.ids import Reference
from normlab.errors import NormlabError
from runtime.documents import read_document
from studies.spec.expand import expand
from studies.spec.study import read_study

BILL: dict[str, Any] = {
    "jobs": 6,
    "reused": 2,
    "device_seconds": 80.0,
    "least_device_seconds": None,
    "unknown": 0,
    "basis": "shape",
    "finished": 32,
    "usual_error": 0.12,
    "wall_seconds": 40.0,
    "memory_bytes": 557_000_000,
    "stored_bytes": 1_000_000,
}
PLAN: dict[str, Any] = {
    "kind": "study",
    "count": 6,
    "later_trials": 0,
    "then": 0,
    "variants": 2,
    "points": 1,
    "seeds": 3,
    "most_seeds": 3,
    "steps": 216,
    "bill": BILL,
    "verdict": {"possible": False, "sentence": "3 seeds: intervals only, a verdict needs 8"},
    "defaults": [
        {"field": "metric", "value": "test_accuracy", "arms": []},
        {"field": "resources.timeout", "value": 3600.0, "arms": []},
        {"field": "optimizer.lr", "value": 0.01, "arms": ["none"]},
    ],
    "same_as": [],
    "arms": [
        {
            "name": name,
            "variant": name,
            "point": {},
            "jobs": 3,
            "parameters": 12345,
            "examples": {"train": 1150, "val": 288, "test": 359},
            "steps": 36,
        }
        for name in ("none", "batch")
    ],
    "cells": [],
    "warnings": ["batch: dropout before batch norm"],
}


def test_a_plan_of_a_study_that_grows_says_from_where_to_where(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bill = {**BILL, "device_seconds": 600.0, "least_device_seconds": 120.0}
    show_plan({**PLAN, "count": 16, "seeds": 8, "most_seeds": 40, "bill": bill}, "study.yaml")
    said = capsys.readouterr().out
    assert "Jobs: 16 cells (2 variants × 1 point × 8 seeds), at most 80 with 40 seeds" in said
    assert "Bill: 2m 00s to 10m of device time" in said.replace("\n", " ")


def test_a_plan_says_all_that_is_known_beforehand(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(PLAN, "study.yaml", ["seeds=3"])
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split() == [
        "name", "jobs", "parameters", "train", "val", "test", "steps", "of", "a", "job",
    ]  # fmt: skip
    assert lines[1].split() == ["none", "3", "12,345", "1150", "288", "359", "36"]
    assert lines[4:6] == [
        "Jobs: 6 cells (2 variants × 1 point × 3 seeds)",
        "Steps: at most 216 in total",
    ]
    assert "Verdict: 3 seeds: intervals only, a verdict needs 8" in lines
    assert (
        "Defaults used: metric test_accuracy, resources.timeout 1h 00m, optimizer.lr 0.01 (none)"
        in lines
    )
    assert lines[-1] == "Submit it with: normlab submit study.yaml --set seeds=3"
    assert said.err == "warning: batch: dropout before batch norm\n"


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {},
            [
                "Reused: 2 of 6 jobs were trained before",
                "Bill: 1m 20s of device time (estimated from finished jobs of the same model, norm, data and batch size: 32 of "
                "them; such bills are usually off by 12%)",
                "Done in: 40s, with the current queue",
                "Memory: 557 MB, Disk: 1 MB",
            ],
        ),
        (
            {"reused": 0, "wall_seconds": None, "usual_error": None, "basis": "scaled"},
            [
                "Bill: 1m 20s of device time (a rough guess from finished jobs of another size: 32 of them)",
                "Done in: unknown, because no worker with such a device is running",
                "Memory: 557 MB, Disk: 1 MB",
            ],
        ),
        (
            {"reused": 0, "device_seconds": None},
            ["Bill: unknown, because no comparable job has been trained"],
        ),
        (
            {"reused": 6, "device_seconds": 0.0},
            ["Reused: 6 of 6 jobs were trained before", "Bill: nothing is left to train"],
        ),
    ],
)
def test_a_bill_says_what_it_rests_on(changes: dict[str, Any], lines: list[str]) -> None:
    assert bill_lines(BILL | changes) == lines


def test_above_the_limit_nothing_is_submitted_unasked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask(BILL)
    monkeypatch.setenv("NORMLAB_ASK_ABOVE_MINUTES", "1")
    with pytest.raises(NormlabError, match=r"exceeds the 1 device-minutes .* add --yes"):
        _ask(BILL)
    assert "Bill: 1m 20s" in capsys.readouterr().out
    monkeypatch.setenv("NORMLAB_ASK_ABOVE_MINUTES", "long")
    with pytest.raises(NormlabError, match="must be a number of minutes but is 'long'"):
        _ask(BILL)


class Service:
    """Answers `show` with one study."""

    def show(self, name: Any) -> dict[str, Any]:
        return {"counts": {"failed": 1, "cancelled": 0, "succeeded": 3}}


def test_what_is_accepted_counts_its_warnings_and_offers_the_earlier_study(
    capsys: pytest.CaptureFixture[str],
) -> None:
    item = {
        "name": "norms",
        "counts": {"queued": 4},
        "warnings": ["one", "two"],
        "notes": ["Study 3 trains the same."],
        "same_as": [3, 1],
    }
    show_accepted(Service(), Reference("study", 5), item)  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "Accepted study s5: norms, 4 jobs",
        "Study 3 trains the same.",
        "  normlab extend s3 --seeds 4",
        "  normlab retry s3",
    ]
    assert said.err == "2 warnings: see normlab show s5\n"


def test_a_study_to_start_from_is_valid_and_replaces_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    init(file)
    study = read_study(read_document(file.read_bytes()))
    assert len(expand(study)) == 24
    file.write_text("mine")
    with pytest.raises(NormlabError, match="exists already; --force replaces it"):
        init(file)
    assert file.read_text() == "mine"
    init(file, force=True)
    assert file.read_text() != "mine"
    assert f"normlab plan {file}" in capsys.readouterr().out


def test_what_the_template_leaves_in_comments_is_valid_too() -> None:
    text = (Path(__file__).parents[3] / "normlab" / "template.yaml").read_text()
    options = [
        line.strip().removeprefix("# ").split("  #")[0]
        for line in text.splitlines()
        if line.startswith("  # ") and ": " in line
    ]
    document = yaml.safe_load(text)
    base = document["base"] | yaml.safe_load("\n".join(options))
    assert set(base) > {"schedule", "regularization", "augmentation", "diagnostics", "resources"}
    document |= {"base": base, "margin": 0.005, "looks": [8, 16]}
    document["matrix"] = {"training.batch_size": [64, 8]}
    assert len(expand(read_study(document))) == 48
