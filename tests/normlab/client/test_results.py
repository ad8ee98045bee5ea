"""`normlab query`, `normlab export` and their tables in Python, against a service that says what it is told."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas
import pytest

from normlab.client.client import Client
from normlab.client.dataframes import exported_frame
from tests.normlab.client.test_reports import run, script, url
from tests.normlab.client.test_transport import Script, client

__all__ = ["client", "script", "url"]

ROWS = [
    {"job_id": 7, "name": "group | seed 0", "study": "norms", "status": "succeeded", "reason": "completed",
     "best.val_accuracy": 0.91234567, "test_accuracy": None},
    {"job_id": 6, "name": 'a, "b"', "study": None, "status": "failed", "reason": "oom",
     "best.val_accuracy": None, "test_accuracy": None},
]  # fmt: skip
GROUP = {
    "by": {"norm.kind": "group", "model.hidden": [8, 64], "optimizer.nesterov": True},
    "metric": "best_val_accuracy", "jobs": 5, "n": 3, "mean": 0.9, "std": 0.01, "median": 0.9,
    "interquartile_mean": 0.9, "interval": [0.875, 0.925], "best": 0.91, "worst": 0.89,
    "diverged": 1, "failed": 1, "cancelled": 0, "pending": 1,
}  # fmt: skip
LINES = b"""\
{"job_id": 1, "seed": 3, "name": "a", "norm.groups": 8, "test_loss": null, "nesterov": true, "mixed": 1, "created_at": "2026-11-26T01:00:00.5+01:00", "finished_at": null, "non_finite": {"test_loss": "inf"}}
{"job_id": 2, "seed": 4, "name": "\xc3\xbc", "norm.groups": null, "test_loss": 0.25, "nesterov": null, "mixed": "[1, 2]", "created_at": "2026-11-26T00:00:00+00:00", "finished_at": null}
"""


def asked(script: Script, number: int = 0) -> tuple[str, dict[str, str]]:
    parts = urlsplit(script.seen[number][1])
    given = parse_qs(parts.query, keep_blank_values=True)
    return parts.path, {name: value for name, [value] in given.items()}


def text(done: "subprocess.CompletedProcess[bytes]") -> tuple[int, str, str]:
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_query_is_a_table(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, {"items": ROWS, "next_cursor": None})
    code, out, error = text(
        run(url, tmp_path, "query", "norm.kind=group", "--sort", "-optimizer.lr")
    )
    assert (code, error) == (0, "")
    head, first, second = out.splitlines()
    assert head.split()[:4] == ["job", "name", "study", "status"]
    assert first.split() == [
        "j7", "group", "|", "seed", "0", "norms", "succeeded", "completed", "0.912346",
    ]  # fmt: skip
    assert 'a, "b"' in second
    path, given = asked(script)
    assert path == "/api/v1/results"
    assert (given["query"], given["sort"], given["limit"]) == (
        "norm.kind=group",
        "-optimizer.lr",
        "51",
    )
    assert given["columns"].endswith("test_accuracy,optimizer.lr")


def test_csv_has_the_numbers_whole_and_json_what_the_service_sent(
    url: str, script: Script, tmp_path: Path
) -> None:
    columns = "name,best.val_accuracy,tag"
    rows = [{"name": 'a, "b"', "best.val_accuracy": 0.91234567, "tag": ["x", "y"]}]
    for _ in range(2):
        script.say(200, {"items": rows, "next_cursor": None})
    done = run(url, tmp_path, "query", "seed=1", "--columns", columns, "-o", "csv")
    assert done.stdout.decode() == (
        'name,best.val_accuracy,tag\n"a, ""b""",0.91234567,"[""x"", ""y""]"\n'
    )
    assert asked(script)[1]["columns"] == columns
    done = run(url, tmp_path, "query", "-o", "json")
    assert json.loads(done.stdout) == rows
    assert asked(script, 1)[1] == {"limit": "51"}


def test_it_says_that_there_are_more(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, {"items": ROWS, "next_cursor": "x"})
    code, out, error = text(run(url, tmp_path, "query", "-n", "1"))
    assert (code, len(out.splitlines())) == (0, 2)
    assert "more than 1 results: -n 10 shows more" in error
    script.say(200, {"items": [], "next_cursor": None})
    assert text(run(url, tmp_path, "query", "seed=9")) == (0, "", "nothing matches\n")


def test_groups_are_a_table_with_statistics(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, {"items": [GROUP], "next_cursor": None})
    by = "norm.kind,model.hidden,optimizer.nesterov"
    code, out, _ = text(
        run(url, tmp_path, "query", "seed<9", "--by", by, "--metric", "best.val_accuracy")
    )
    head, line = out.splitlines()
    assert code == 0
    assert head.split("  ")[0] == "norm.kind"
    assert line.split() == [
        "group", "8,", "64", "true", "3", "of", "5", "90.00", "1.00", "90.00", "90.00", "87.50", "to", "92.50",
        "91.00", "89.00", "1", "1", "1",
    ]  # fmt: skip
    path, given = asked(script)
    assert path == "/api/v1/results/groups"
    assert given == {"query": "seed<9", "by": by, "metric": "best.val_accuracy", "limit": "100"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "--metric", "test_accuracy"], "--metric requires --by"),
        (["query", "--by", "seed", "--columns", "seed"], "--columns cannot be combined with --by"),
        (["query", "--study", "j3"], "is a job"),
        (["export", "--study", "j3"], "is a job"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    url: str, script: Script, tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, out, error = text(run(url, tmp_path, *arguments))
    assert (code, out) == (1, "")
    assert said in error
    assert script.seen == []


def test_a_mistake_has_a_caret_under_its_place(url: str, script: Script, tmp_path: Path) -> None:
    detail = "there is no field 'nrom'; did you mean norm?\n  seed=1 and nrom=2\n             ^"
    problem = {
        "title": "Unprocessable Content",
        "detail": f"query: {detail}",
        "errors": [{"parameter": "query", "detail": detail, "position": 11}],
    }
    for arguments in (
        ["query", "seed=1 and nrom=2"],
        ["export", "seed=1 and nrom=2", "--out", "x.csv"],
    ):
        script.say(422, problem)
        code, out, error = text(run(url, tmp_path, *arguments))
        assert (code, out) == (1, "")
        *_, line, caret = error.splitlines()
        assert line[caret.index("^") :] == "nrom=2"
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_what_the_service_sends(url: str, script: Script, tmp_path: Path) -> None:
    content = "name\nü\n".encode()
    for _ in range(2):
        script.say(200, content)
    done = run(url, tmp_path, "export", "norm.kind=group", "--study", "s2")
    assert (done.returncode, done.stdout) == (0, content)
    assert asked(script) == (
        "/api/v1/results/export", {"query": "norm.kind=group", "format": "csv", "study": "2"},
    )  # fmt: skip
    done = run(url, tmp_path, "export", "--out", "deep/all.csv")
    assert (done.stdout, (tmp_path / "deep" / "all.csv").read_bytes()) == (b"", content)
    assert "all.csv (8 B)" in done.stderr.decode()


def test_an_export_as_parquet_keeps_types(url: str, script: Script, tmp_path: Path) -> None:
    for _ in range(2):
        script.say(200, LINES)
    assert (
        run(url, tmp_path, "export", "--format", "parquet", "--out", "all.parquet").returncode == 0
    )
    assert asked(script)[1]["format"] == "jsonl"
    made = pandas.read_parquet(tmp_path / "all.parquet")
    piped = run(url, tmp_path, "export", "--format", "parquet").stdout
    pandas.testing.assert_frame_equal(pandas.read_parquet(io.BytesIO(piped)), made)
    assert list(made["job_id"]) == [1, 2]
    assert pandas.api.types.is_integer_dtype(made["norm.groups"])
    assert made["norm.groups"].isna().tolist() == [False, True]
    assert made["test_loss"].tolist() == [float("inf"), 0.25]
    assert made["mixed"].tolist() == ["1", "[1, 2]"]
    assert made["name"].tolist() == ["a", "ü"]
    assert made["created_at"][0] == pandas.Timestamp("2026-11-26T00:00:00.5Z")
    assert made["finished_at"].isna().all()


def test_an_empty_export_is_an_empty_table(tmp_path: Path) -> None:
    exported_frame([]).to_parquet(tmp_path / "none.parquet")
    assert len(pandas.read_parquet(tmp_path / "none.parquet")) == 0


@pytest.mark.parametrize("length", [1, 7, 10_000])
def test_lines_are_put_together_wherever_they_were_cut(length: int) -> None:
    chunks = [LINES[at : at + length] for at in range(0, len(LINES), length)]
    assert exported_frame(chunks)["job_id"].tolist() == [1, 2]


def test_a_cut_off_export_leaves_no_file(url: str, script: Script, tmp_path: Path) -> None:
    script.answers.append(None)
    # Whether it is starting is asked next: this is not the answer of a service that is.
    script.say(404, {"detail": "not Normlab"})
    code, _, error = text(run(url, tmp_path, "export", "--out", "all.csv"))
    assert code == 1
    assert "does not answer" in error
    assert list(tmp_path.iterdir()) == []


def test_a_query_is_a_data_frame(client: Client, script: Script) -> None:
    row: dict[str, Any] = {
        "job_id": 1,
        "metrics": {"test_accuracy": None},
        "non_finite": {"test_accuracy": "nan"},
    }
    script.say(200, {"items": [row], "next_cursor": None})
    made = client.query("seed=1", sort="-seed", study="s3", most=5)
    assert made["test_accuracy"].isna().all()
    assert asked(script)[1] == {"query": "seed=1", "sort": "-seed", "study": "3", "limit": "5"}


def test_chosen_columns_are_there_without_a_row(client: Client, script: Script) -> None:
    for columns in (["norm.kind", "seed", "seed"], "norm.kind, seed"):
        script.say(200, {"items": [], "next_cursor": None})
        made = client.query(columns=columns)
        assert list(made.columns) == ["norm.kind", "seed"]
        assert asked(script)[1]["columns"] == "norm.kind,seed"


def test_groups_are_a_data_frame(client: Client, script: Script) -> None:
    empty = {**GROUP, "interval": None, "by": {**GROUP["by"], "norm.kind": "batch"}}  # type: ignore[dict-item]
    script.say(200, {"items": [GROUP, empty], "next_cursor": None})
    made = client.query("seed<9", group_by=["norm.kind", "model.hidden"], metric="test_accuracy")
    assert asked(script)[1]["by"] == "norm.kind,model.hidden"
    assert made["norm.kind"].tolist() == ["group", "batch"]
    assert (made["low"][0], made["high"][0]) == (0.875, 0.925)
    assert made["low"].isna()[1]
