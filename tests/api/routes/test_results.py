"""Results over REST: the query language, groups, and the whole as a file."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Study
from store.query.fields import find_field
from studies.stats.inference import t_interval
from tests.support.factories import make_cells, make_job, make_study, make_user, set_job

Sessions = sessionmaker[Session]
DAY = datetime(2026, 11, 26, tzinfo=UTC)
DONE = {"status": "succeeded", "finished_at": DAY}


@pytest.fixture(autouse=True)
def planted(sessions: Sessions) -> dict[str, int]:
    """A study of none and batch by three seeds, of which batch diverges once; a job that failed, one queued."""
    values = {"none | seed 0": 0.5, "none | seed 1": 0.7, "none | seed 2": 0.6,
              "batch | seed 0": 0.9, "batch | seed 1": 0.8, "batch | seed 2": None}  # fmt: skip
    with sessions.begin() as session:
        study = make_study(session, make_user(session, "ann"), make_cells(seeds=(0, 1, 2)))
        names = {"study": study.id}
        for job in study_jobs(session, study):
            value = values[job.name]
            set_job(
                session,
                job.id,
                metrics={"best_val_accuracy": value, "epochs": 3.0},
                non_finite={} if value is not None else {"best_val_accuracy": "nan"},
                facts={"chance_accuracy": 0.1},
                reason="completed" if value is not None else "diverged",
                **DONE,
            )
            names[job.name] = job.id
        dropout, decay = {"kind": "dropout", "p": 0.2}, {"kind": "weight_decay", "value": 0.001}
        failed = make_job(session, name='wide, "big"', norm={"kind": "group", "groups": 8},
                          regularization=[dropout, decay])  # fmt: skip
        set_job(session, failed.id, status="failed", reason="oom", finished_at=DAY, tags=["paper"])
        names["failed"] = failed.id
        names["queued"] = make_job(session, name="queued", norm={"kind": "batch"}).id
    return names


def study_jobs(session: Session, study: Study) -> Any:
    from store.db.models import Job

    return session.scalars(select(Job).where(Job.study_id == study.id).order_by(Job.id)).all()


def rows(client: TestClient, **parameters: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/results", params=parameters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def groups(client: TestClient, **parameters: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/results/groups", params=parameters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def refusal(client: TestClient, path: str = "", **parameters: Any) -> dict[str, Any]:
    answer = client.get(f"/api/v1/results{path}", params=parameters)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    error: dict[str, Any] = answer.json()["errors"][0]
    return error


def test_rows_are_those_that_the_query_finds(viewer: TestClient, planted: dict[str, int]) -> None:
    found = rows(viewer, query="norm.kind=batch and best.val_accuracy>0.85")
    assert [row["job_id"] for row in found] == [planted["batch | seed 0"]]
    assert {row["name"] for row in rows(viewer, query="tag ~ PAP or status=queued")} == {
        'wide, "big"', "queued",
    }  # fmt: skip
    both = rows(viewer, query="seed > 0", study=planted["study"], variant="none")
    assert [row["name"] for row in both] == ["none | seed 2", "none | seed 1"]
    assert rows(viewer, query="tag=paper")[0]["tags"] == ["paper"]


def test_pages_follow_the_order_and_have_the_columns(viewer: TestClient) -> None:
    wanted = {
        "sort": "-best.val_accuracy",
        "columns": "name,norm.kind,best.val_accuracy",
        "limit": 3,
    }
    page = viewer.get("/api/v1/results", params=wanted).json()
    assert page["items"] == [
        {"name": "batch | seed 0", "norm.kind": "batch", "best.val_accuracy": 0.9},
        {"name": "batch | seed 1", "norm.kind": "batch", "best.val_accuracy": 0.8},
        {"name": "none | seed 1", "norm.kind": "none", "best.val_accuracy": 0.7},
    ]
    seen = page["items"]
    while page["next_cursor"]:
        wanted["cursor"] = page["next_cursor"]
        page = viewer.get("/api/v1/results", params=wanted).json()
        seen += page["items"]
    assert len({row["name"] for row in seen}) == len(seen) == 8
    assert [row["best.val_accuracy"] for row in seen[5:]] == [None, None, None]


def test_a_page_goes_on_after_a_very_long_name(viewer: TestClient, sessions: Sessions) -> None:
    with sessions.begin() as session:
        for end in ("a", "b"):
            make_job(session, name="z" * 3000 + end)
    wanted = {"sort": "-name", "limit": 1}
    page = viewer.get("/api/v1/results", params=wanted).json()
    after = viewer.get("/api/v1/results", params={**wanted, "cursor": page["next_cursor"]}).json()
    assert [one["items"][0]["name"][-1] for one in (page, after)] == ["b", "a"]


def test_archived_jobs_are_left_out_unless_they_are_asked_for(
    viewer: TestClient, sessions: Sessions, planted: dict[str, int]
) -> None:
    with sessions.begin() as session:
        set_job(session, planted["failed"], archived_at=DAY)
        session.get_one(Study, planted["study"]).archived_at = DAY
    assert [row["name"] for row in rows(viewer)] == ["queued"]
    assert len(rows(viewer, query="archived=true")) == 7
    assert len(rows(viewer, study=planted["study"])) == 6
    assert len(rows(viewer, study=planted["study"], query="seed=0")) == 2
    assert rows(viewer, query="seed=0 and norm.kind=none") == []


@pytest.mark.parametrize(
    ("parameters", "parameter", "position", "caret"),
    [
        ({"query": "status=sleeping"}, "query", 7, "  status=sleeping\n         ^"),
        ({"query": "seed = 1 or norm.knid = x"}, "query", 12, "\n              ^"),
        ({"query": "seed ="}, "query", 6, "  seed =\n        ^"),
        ({"query": ""}, "query", 0, "  \n  ^"),
        ({"query": "name = 'a\0'"}, "query", 9, "NUL"),
        ({"sort": "-nrom.kind"}, "sort", 1, "did you mean norm.kind?"),
        ({"columns": "name,,seed"}, "columns", 5, "  name,,seed\n       ^"),
    ],
)
def test_a_mistake_is_a_problem_with_its_place(
    viewer: TestClient, parameters: dict[str, str], parameter: str, position: int, caret: str
) -> None:
    error = refusal(viewer, **parameters)
    assert (error["parameter"], error["position"]) == (parameter, position)
    assert caret in error["detail"]


def test_a_cursor_of_another_order_is_refused(viewer: TestClient) -> None:
    cursor = viewer.get("/api/v1/results", params={"limit": 1}).json()["next_cursor"]
    assert refusal(viewer, sort="seed", cursor=cursor)["parameter"] == "cursor"


def test_groups_have_the_statistics_of_a_comparison(viewer: TestClient) -> None:
    batch, group, none = groups(viewer, by="norm.kind")
    assert [one["by"] for one in (batch, group, none)] == [
        {"norm.kind": "batch"}, {"norm.kind": "group"}, {"norm.kind": "none"},
    ]  # fmt: skip
    # What diverged without a checkpoint counts as guessing; what isn't finished has no value.
    values = [0.9, 0.8, 0.1]
    low, high = t_interval(values) or (0.0, 0.0)
    assert batch == {
        "by": {"norm.kind": "batch"}, "metric": "best_val_accuracy", "jobs": 4, "n": 3,
        "mean": pytest.approx(0.6), "std": pytest.approx(0.43588989), "median": 0.8,
        "interquartile_mean": pytest.approx(0.6), "interval": pytest.approx([low, high]),
        "best": 0.9, "worst": 0.1, "diverged": 1, "failed": 0, "cancelled": 0, "pending": 1,
    }  # fmt: skip
    assert (group["n"], group["mean"], group["interval"], group["failed"]) == (0, None, None, 1)
    assert (none["n"], none["best"], none["worst"]) == (3, 0.7, 0.5)


def test_groups_are_of_any_fields_and_sorted_as_asked(viewer: TestClient) -> None:
    found = groups(viewer, by="seed, norm.kind", query="study=norms", sort="-best")
    assert [tuple(one["by"].values()) for one in found] == [
        (0, "batch"), (1, "batch"), (1, "none"), (2, "none"), (0, "none"), (2, "batch"),
    ]  # fmt: skip
    one, two = groups(viewer, by="regularization.kind", metric="metrics.epochs")
    assert one["by"] == {"regularization.kind": ["dropout", "weight_decay"]}
    assert (two["by"], two["mean"]) == ({"regularization.kind": []}, 3.0)


@pytest.mark.parametrize(
    ("parameters", "parameter", "said"),
    [
        ({"by": "norm.knid"}, "by", "did you mean norm.kind?"),
        ({"by": "metrics"}, "by", "is a document"),
        ({"by": ""}, "by", "a name is missing"),
        ({"by": "seed", "metric": "seed"}, "metric", "seed is not a metric"),
        ({"by": "seed", "sort": "-mode"}, "sort", "they have seed, jobs, n, mean"),
        ({}, "by", "required"),
    ],
)
def test_groups_that_make_no_sense_are_refused(
    viewer: TestClient, parameters: dict[str, str], parameter: str, said: str
) -> None:
    error = refusal(viewer, "/groups", **parameters)
    assert error["parameter"] == parameter
    assert said in error["detail"]


def export(client: TestClient, **parameters: Any) -> str:
    answer = client.get("/api/v1/results/export", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_an_export_has_every_job_and_a_column_per_field(
    viewer: TestClient, planted: dict[str, int]
) -> None:
    found = list(csv.DictReader(io.StringIO(export(viewer))))
    assert [int(row["job_id"]) for row in found] == [row["job_id"] for row in rows(viewer)]
    by_name = {row["name"]: row for row in found}
    failed = by_name['wide, "big"']
    assert failed["regularization.dropout.p"] == "0.2"
    assert json.loads(failed["regularization.kind"]) == ["dropout", "weight_decay"]
    assert (failed["norm.groups"], failed["tags"], failed["study"]) == ("8", "paper", "")
    assert failed["finished_at"] == "2026-11-26T00:00:00+00:00"
    assert by_name["batch | seed 2"]["best_val_accuracy"] == "nan"
    assert by_name["none | seed 1"]["best_val_accuracy"] == "0.7"
    assert (failed["epochs"], by_name["none | seed 1"]["metrics.epochs"]) == ("0", "3.0")
    assert by_name["queued"]["optimizer.nesterov"] == "false"


def test_the_columns_of_an_export_are_fields_of_the_query_language(viewer: TestClient) -> None:
    header = next(csv.reader(io.StringIO(export(viewer))))
    assert len(header) == len(set(header)) > 30
    for name in header:
        assert name == "hash" or name == "best_seconds" or find_field(name)
    assert header[:3] == ["job_id", "study_id", "study"]
    assert header.index("best_val_accuracy") < header.index("norm.kind")


def test_an_export_takes_the_same_filters(viewer: TestClient) -> None:
    wanted = {
        "query": "norm.kind=none",
        "sort": "-best.val_accuracy",
        "columns": "seed,best.val_accuracy",
    }
    assert export(viewer, **wanted) == "seed,best.val_accuracy\n1,0.7\n2,0.6\n0,0.5\n"
    lines = export(viewer, **wanted, format="jsonl").splitlines()
    assert json.loads(lines[0]) == {"seed": 1, "best.val_accuracy": 0.7}
    assert export(viewer, query="seed=99", columns="seed") == "seed\n"
    assert export(viewer, query="seed=99").startswith("job_id,study_id,")
    assert export(viewer, query="seed=99", format="jsonl") == ""
    assert refusal(viewer, "/export", query="a")["position"] == 1


def test_a_line_of_json_names_what_is_not_finite(viewer: TestClient) -> None:
    [line] = export(viewer, query="reason=diverged", format="jsonl").splitlines()
    row = json.loads(line)
    assert row["best_val_accuracy"] is None
    assert row["non_finite"] == {"best_val_accuracy": "nan"}


def test_lines_of_json_have_the_same_keys_as_the_header(viewer: TestClient) -> None:
    header = next(csv.reader(io.StringIO(export(viewer))))
    for line in export(viewer, format="jsonl").splitlines():
        row = json.loads(line)
        row.pop("non_finite")
        assert list(row) == header
