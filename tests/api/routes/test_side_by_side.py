"""Groups and studies side by side over REST."""

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from scipy import stats
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from api.routes import results
from store.db.models import Job, Study
from tests.support.factories import make_cells, make_study, make_user, set_job

DAY = datetime(2026, 11, 26, tzinfo=UTC)
SEEDS = range(8)
SPEC = {
    "metric": "best_val_accuracy",
    "variants": {name: {"norm": {"kind": name}} for name in ("none", "batch", "layer")},
}
MEANS = {"none": 0.8, "batch": 0.83, "layer": 0.8}


def value_of(job: Job) -> float:
    """Of its norm, of its seed, and a little of its own."""
    return MEANS[job.variant or ""] + 0.01 * job.seed + 0.002 * (job.seed * 7 % 5)


@pytest.fixture(autouse=True)
def planted(sessions: sessionmaker[Session]) -> list[int]:
    """Two studies: none and batch, none and layer, each at eight seeds; the second with another batch size."""
    with sessions.begin() as session:
        user = make_user(session, "ann")
        training = {"training": {"epochs": 2, "batch_size": 8}}
        studies = [
            make_study(session, user, make_cells(names, SEEDS, **more), SPEC)
            for names, more in ((("none", "batch"), {}), (("none", "layer"), training))
        ]
        for job in session.scalars(select(Job)):
            set_job(
                session,
                job.id,
                status="succeeded",
                reason="completed",
                finished_at=DAY,
                metrics={"best_val_accuracy": value_of(job)},
            )
        return [study.id for study in studies]


def compare(client: TestClient, **parameters: Any) -> dict[str, Any]:
    answer = client.get("/api/v1/results/comparison", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_groups_of_a_query_are_paired_where_their_settings_are_equal(viewer: TestClient) -> None:
    found = compare(viewer, by="norm.kind")
    batch, layer, none = found["groups"]
    assert [one["name"] for one in found["groups"]] == ["batch", "layer", "none"]
    # Each has eight partners among none's sixteen jobs, which are of two batch sizes.
    assert (batch["pairs"], layer["pairs"], none["jobs"]) == (8, 8, 16)
    assert (none["is_reference"], none["difference"]) == (True, None)
    assert batch["difference"]["mean"] == pytest.approx(0.03)
    assert layer["difference"]["mean"] == 0
    assert layer["difference"]["p_value"] == 1
    assert found["comparisons"] == 2
    narrowed = compare(viewer, by="norm.kind", query="training.batch_size = 8 or norm.kind = batch")
    assert (found["reference"], narrowed["reference"]) == ("none", "none")
    assert narrowed["unpaired"] == [
        "batch: 8 of 8 jobs have no partner in none: they differ in training.batch_size"
    ]
    batch, layer, _ = narrowed["groups"]
    assert batch["unpaired"][0]["fields"] == ["training.batch_size"]
    assert (batch["difference"], layer["pairs"]) == (None, 8)


def test_the_variants_of_studies_are_paired_with_the_first_one_s_baseline(
    viewer: TestClient, planted: list[int]
) -> None:
    first, second = planted
    found = compare(viewer, studies=planted)
    assert found["reference"] == f"s{first} none"
    names = [f"s{first} none", f"s{first} batch", f"s{second} none", f"s{second} layer"]
    assert [one["name"] for one in found["groups"]] == names
    difference = found["groups"][1]["difference"]
    gaps = [0.03] * 8
    assert difference["interval"] == pytest.approx(stats.t.interval(0.95, 7, 0.03, 1e-12), abs=1e-9)
    assert (difference["n"], difference["p_value"]) == (len(gaps), 2 / 2**8)
    assert "training.batch_size" in found["unpaired"][0]
    assert found["notes"][0].startswith("nothing of this comparison was fixed")


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"query": "not reason=diverged"}, "reason"),
        ({"query": "best.val_accuracy>0.1"}, "best.val_accuracy"),
        ({"status": "succeeded"}, "status"),
        ({"by": "norm.kind,status"}, "status"),
    ],
)
def test_who_selects_jobs_by_their_outcome_gets_no_judgement(
    viewer: TestClient, parameters: dict[str, str], named: str
) -> None:
    comparison = compare(viewer, **{"by": "norm.kind", **parameters})
    assert comparison["notes"][1].startswith(f"the jobs were selected by {named}")
    assert {(one["difference"] or {}).get("decision") for one in comparison["groups"]} == {None}
    if "status" not in parameters:
        page = viewer.get("/compare", params={"by": "norm.kind", **parameters}).text
        assert "which their training has decided" in page


def test_archived_jobs_count_where_their_study_is_named(
    viewer: TestClient, planted: list[int], sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        session.get_one(Study, planted[0]).archived_at = DAY
    assert len(compare(viewer, studies=planted)["groups"]) == 4
    assert [one["name"] for one in compare(viewer, by="norm.kind")["groups"]] == ["layer", "none"]


@pytest.mark.parametrize(
    ("parameters", "parameter", "said"),
    [
        ({}, "by", "name the fields to group by, or 2 to 6 `studies`"),
        ({"studies": [3]}, "studies", "but got 1"),
        ({"studies": list(range(1, 8))}, "studies", "but got 7"),
        ({"by": "norm.knid"}, "by", "did you mean norm.kind?"),
        ({"by": "norm.kind", "metric": "seed"}, "metric", "seed is not a metric"),
        ({"by": "norm.kind", "query": "seed ="}, "query", "^"),
        ({"by": "norm.kind", "reference": "group"}, "reference", "there are batch, layer and none"),
        ({"by": "id"}, "query", "there are 32 groups, and at most 20"),
        ({"by": "norm.kind", "query": "norm.kind=none"}, "query", "two groups or more"),
    ],
)
def test_what_can_not_be_compared_is_a_problem_with_its_place(
    viewer: TestClient, parameters: dict[str, Any], parameter: str, said: str
) -> None:
    answer = viewer.get("/api/v1/results/comparison", params=parameters)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    [error] = answer.json()["errors"]
    assert error["parameter"] == parameter
    assert said in error["detail"]


def test_a_study_that_is_not_there_is_said(viewer: TestClient, planted: list[int]) -> None:
    answer = viewer.get("/api/v1/results/comparison", params={"studies": [planted[0], 99999]})
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no study 99999")


def test_too_many_jobs_are_refused(viewer: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MOST_JOBS", 31)
    answer = viewer.get("/api/v1/results/comparison", params={"by": "norm.kind"})
    assert answer.status_code == 422
    assert "more than 31 jobs" in answer.json()["detail"]


def test_rows_and_studies_are_found_by_several_studies_and_by_a_query_of_their_jobs(
    viewer: TestClient, planted: list[int]
) -> None:
    def studies(**parameters: Any) -> list[int]:
        answer = viewer.get("/api/v1/studies", params=parameters)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    rows = viewer.get("/api/v1/results", params={"studies": planted, "limit": 100}).json()["items"]
    assert {row["study_id"] for row in rows} == set(planted)
    assert studies(query="norm.kind=layer") == [planted[1]]
    assert studies(query="person=ann and training.batch_size=8") == [planted[1]]
    assert studies(query=f"study={planted[0]}") == [planted[0]]
    assert studies(query="norm.kind=none", limit=1) == [planted[1]]
    assert studies(query="norm.kind=group") == []
    answer = viewer.get("/api/v1/studies", params={"query": "norm.kind="})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["position"] == 10


def test_groups_are_a_table_for_a_paper(viewer: TestClient) -> None:
    def table(format: str, media_type: str) -> str:
        answer = viewer.get(
            "/api/v1/results/comparison", params={"by": "norm.kind", "format": format}
        )
        assert answer.headers["content-type"].startswith(media_type)
        return answer.text

    head, _, *rows = table("markdown", "text/markdown").splitlines()
    assert head.startswith("| group | jobs | n | best val accuracy |")
    batch = next(row for row in rows if row.startswith("| batch"))
    assert "| +3.00 points |" in batch
    assert batch.endswith("better |")
    latex = table("latex", "application/x-latex")
    assert r"\begin{tabular}{l" in latex
    assert r"$+$3.00" in latex
    assert "best val accuracy" in latex
