"""Exports of whole jobs, whatever order their specs come in."""

import csv
import io
import json
from typing import Any

import pytest

from api.http import spool
from studies.results.export import COLUMNS


def make_row(number: int, kind: str, **metrics: float | None) -> dict[str, Any]:
    spec = {"norm": {"kind": kind}, "training": {"epochs": number % 2}, "gone": {"option": kind}}
    non_finite = {name: "nan" for name, value in metrics.items() if value is None}
    own = {name: None for name in COLUMNS} | {"job_id": number, "tags": ["a,b", 'c"d']}
    return own | {"spec": json.dumps(spec), "metrics": metrics, "non_finite": non_finite}


ROWS = [
    make_row(1, "batch", test_accuracy=0.5),
    make_row(2, "layer", odd=None),
    make_row(3, "group"),
    make_row(4, "layer", test_accuracy=0.25),
    make_row(5, "batch", test_accuracy=1.0, odd=2.0),
]


@pytest.mark.parametrize("most", [1, 2, 1000])
def test_each_job_has_its_own_spec_however_few_are_remembered(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(spool, "_MOST_SPECS", most)
    lines = b"".join(spool.spool_jobs(ROWS, format="jsonl")).decode().splitlines()
    jobs = [json.loads(line) for line in lines]
    assert [(one["job_id"], one["norm.kind"], one["training.epochs"]) for one in jobs] == [
        (1, "batch", 1), (2, "layer", 0), (3, "group", 1), (4, "layer", 0), (5, "batch", 1),
    ]  # fmt: skip
    # No spec of this version has it.
    assert [one["gone.option"] for one in jobs] == ["batch", "layer", "group", "layer", "batch"]
    assert [one["test_accuracy"] for one in jobs] == [0.5, None, None, 0.25, 1.0]
    assert [one["non_finite"] for one in jobs] == [{}, {"metrics.odd": "nan"}, {}, {}, {}]
    [keys] = {tuple(one) for one in jobs}
    assert keys[-1] == "non_finite"

    text = b"".join(spool.spool_jobs(ROWS, format="csv")).decode()
    cells = list(csv.DictReader(io.StringIO(text)))
    assert tuple(cells[0]) == keys[:-1]
    assert [one["tags"] for one in cells] == ['["a,b", "c\\"d"]'] * len(ROWS)
    assert [one["metrics.odd"] for one in cells] == ["", "nan", "", "", "2.0"]
    for job, row in zip(jobs, cells, strict=True):
        kept = {k: "" if v is None else str(v) for k, v in job.items() if k != "non_finite"}
        assert kept | job["non_finite"] == row
