"""The pages of results and of comparisons: what they find, what they say of a query that is wrong, where they lead."""

import csv
import html
import io
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from api.web.results import listing
from store.db.models import Job
from store.query import outcomes_named
from tests.support.factories import make_cells, make_job, make_study, make_user, set_job
from tests.support.statements import counting_statements

Sessions = sessionmaker[Session]
DAY = datetime(2026, 11, 26, tzinfo=UTC)
SPEC = {
    "metric": "best_val_accuracy",
    "variants": {name: {"norm": {"kind": name}} for name in ("none", "batch")},
}


@pytest.fixture(autouse=True)
def planted(sessions: Sessions) -> list[int]:
    """Two studies of none and batch at eight seeds, all of them done; and a job whose name is markup."""
    with sessions.begin() as session:
        user = make_user(session, "ann")
        studies = [make_study(session, user, make_cells(seeds=range(8)), SPEC) for _ in range(2)]
        for number, job in enumerate(session.scalars(select(Job).order_by(Job.id))):
            value = 0.8 + 0.1 * (job.variant == "batch") + 0.001 * (number * 7 % 11)
            set_job(
                session,
                job.id,
                status="succeeded",
                reason="completed",
                finished_at=DAY,
                metrics={"best_val_accuracy": value, "test_accuracy": 0.5},
            )
        odd = make_job(session, user, name="<script>x</script>", norm={"kind": "layer"})
        set_job(
            session,
            odd.id,
            status="succeeded",
            reason="diverged",
            finished_at=DAY,
            metrics={"best_val_accuracy": None},
            non_finite={"best_val_accuracy": "nan"},
        )
        return [study.id for study in studies]


def read(client: TestClient, path: str, status: int = 200, **parameters: Any) -> str:
    answer = client.get(path, params=parameters or None)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_jobs_are_listed_with_the_columns_in_the_order_and_by_pages(
    viewer: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 10)
    view = {"query": "norm.kind=batch", "columns": "optimizer.lr,best.val_accuracy", "sort": "-best.val_accuracy"}  # fmt: skip
    first = read(viewer, "/results", **view)
    assert first.count("<tr>") == 11
    assert 'aria-sort="descending"' in first
    assert "91.00 %" in first
    # The validation's, not the test's: that is sealed until somebody asks for it.
    assert "50.00 %" not in first
    [more] = re.findall(r'rel="next" href="([^"]+)"', first)
    second = read(viewer, html.unescape(more))
    assert second.count("<tr>") == 7
    assert 'value="norm.kind=batch"' in second
    assert "50.00 %" in read(viewer, "/results", columns="test_accuracy")


def test_a_value_that_is_not_finite_is_named_and_a_name_is_text(viewer: TestClient) -> None:
    page = read(viewer, "/results", query="reason=diverged")
    assert "&lt;script&gt;x" in page
    assert "<script>x" not in page
    assert 'class="number">nan</td>' in page
    assert "(diverged)" in page


@pytest.mark.parametrize(
    ("path", "parameters", "name", "pointer"),
    [
        ("/results", {"query": "seed = 1 or norm.knid = x"}, "query", "            ^"),
        ("/results", {"columns": "name,,seed"}, "columns", "     ^"),
        ("/results", {"sort": "-nrom.kind"}, "sort", " ^"),
        ("/results", {"by": "norm.kind", "metric": "seed"}, "metric", "^"),
        ("/results", {"by": "norm.kind", "sort": "-mode"}, "sort", " ^"),
        ("/studies", {"query": "status=sleeping"}, "query", "       ^"),
        ("/compare", {"by": "norm.kind", "query": "seed ="}, "query", "      ^"),
        ("/compare", {"by": "norm.kind", "reference": "x"}, "reference", "^"),
    ],
)
def test_a_mistake_is_shown_where_it_was_made_and_what_was_typed_stays(
    viewer: TestClient, path: str, parameters: dict[str, str], name: str, pointer: str
) -> None:
    page = read(viewer, path, 422, **parameters)
    [field] = re.findall(rf'<input name="{name}"[^>]*>', page)
    assert f'value="{parameters[name]}"' in field
    assert f'aria-invalid="true" aria-describedby="{name}-mistake"' in field
    assert f'data-position="{len(pointer) - 1}"' in field
    [shown] = re.findall(rf'id="{name}-mistake" role="alert">.*?<pre>(.*?)</pre>', page, re.DOTALL)
    assert shown == f"  {parameters[name]}\n  {pointer}"


def test_a_mistake_suggests_what_may_have_been_meant(viewer: TestClient) -> None:
    page = text_of(read(viewer, "/results", 422, query="norm.knid = x"))
    assert "did you mean norm.kind?" in page
    assert "more than 5 groups" in _with_few_groups(viewer)


def _with_few_groups(viewer: TestClient) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "MOST_GROUPS", 5)
        return read(viewer, "/results", 422, by="id")


def test_every_example_runs(viewer: TestClient) -> None:
    page = read(viewer, "/results")
    examples = re.findall(r'<li><a href="(/results\?query=[^"]+)">', page)
    assert len(examples) == 4
    for one in examples:
        read(viewer, html.unescape(one))
    # What is compared leaves out nobody by what became of it.
    compared = [parse_qs(html.unescape(one).partition("?")[2]) for one in examples if "by=" in one]
    assert [outcomes_named(one["query"][0]) for one in compared] == [[]]
    assert "<code>norm.kind</code>" in page
    assert "<code>best_val_accuracy</code>" in page


def test_groups_show_what_the_api_says_and_lead_to_their_jobs(viewer: TestClient) -> None:
    wanted = {"by": "norm.kind,training.batch_size", "query": "person=ann", "sort": "-mean"}
    groups = viewer.get("/api/v1/results/groups", params=wanted).json()["items"]
    page = read(viewer, "/results", **wanted)
    rows = [text_of(row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)[1:]]
    assert len(rows) == len(groups) == 3
    for row, group in zip(rows, groups, strict=True):
        assert row.split()[0] == group["by"]["norm.kind"]
        if group["mean"] is not None:
            assert f"{group['mean'] * 100:.2f} %" in row
    first = re.findall(r'<th scope="row"><a href="([^"]+)">', page)[0]
    jobs = read(viewer, html.unescape(first))
    assert jobs.count("<tr>") == groups[0]["jobs"] + 1


def test_a_group_s_row_writes_all_its_numbers_alike(viewer: TestClient, sessions: Sessions) -> None:
    with sessions.begin() as session:
        for job in session.scalars(select(Job).where(Job.variant == "batch")):
            metrics = {"steps_taken": 12345.678 + job.seed, "best_val_loss": 0.123456789 + job.seed}
            set_job(session, job.id, metrics=metrics)
    view = {"query": "norm.kind=batch", "by": "norm.kind"}
    steps = text_of(read(viewer, "/results", **view, metric="metrics.steps_taken"))
    assert "12349 ± 2.366 12347 to 12351 12353" in steps
    losses = text_of(read(viewer, "/results", **view, metric="best_val_loss"))
    assert "3.623 ± 2.366 1.576 to 5.671 0.1235" in losses


def test_a_view_is_exported_as_it_is_seen(viewer: TestClient) -> None:
    page = read(viewer, "/results", query="norm.kind=batch and seed<2", columns="optimizer.kind")
    [address] = re.findall(r'href="([^"]+)">As CSV', page)
    header, *lines = viewer.get(html.unescape(address)).text.splitlines()
    assert header == "job_id,name,study,variant,seed,status,reason,optimizer.kind"
    assert len(lines) == 4
    page = read(viewer, "/results", by="norm.kind")
    [address] = re.findall(r'href="([^"]+)">The groups as JSON', page)
    assert len(viewer.get(html.unescape(address)).json()["items"]) == 3


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/results?sort=-best_val_accuracy", 1),
        ("/results?query=seed%3C3&by=norm.kind,seed", 1),
        ("/compare?by=norm.kind", 2),
        ("/studies?query=norm.kind%3Dbatch", 6),
    ],
)
def test_a_page_takes_few_statements_however_much_it_shows(
    app: FastAPI, viewer: TestClient, path: str, most: int
) -> None:
    read(viewer, path)
    with counting_statements(app.state.services.engine) as statements:
        read(viewer, path)
    # One of them is the token's.
    assert len(statements) - 1 <= most, "\n".join(statements)


def test_nothing_found_leads_on(viewer: TestClient) -> None:
    assert "No job matches this query" in read(viewer, "/results", query="seed=77")
    assert "No job matches this query" in read(viewer, "/results", query="seed=77", by="seed")


def test_studies_are_found_by_their_jobs_and_chosen_to_be_compared(
    viewer: TestClient, planted: list[int]
) -> None:
    page = read(viewer, "/studies", query="norm.kind=batch and seed=7")
    boxes = re.findall(
        r'<input type="checkbox" [^>]*name="studies" value="(\d+)" form="compare"', page
    )
    assert [int(one) for one in boxes] == planted[::-1]
    page = read(viewer, "/studies", query="norm.kind=layer")
    assert "No study matches these filters" in page
    assert 'form="compare"' not in page


def test_studies_side_by_side_say_what_the_api_says(viewer: TestClient, planted: list[int]) -> None:
    found = viewer.get("/api/v1/results/comparison", params={"studies": planted}).json()
    page = read(viewer, "/compare", studies=planted)
    shown = text_of(page)
    assert found["sentence"] in shown
    assert shown.index(found["sentence"]) < shown.index(found["notes"][0]) < shown.index("Groups")
    assert all(one in shown for one in (found["rule"], *found["notes"], *found["unpaired"]))
    assert 'class="better">better</td>' in page
    assert '<svg class="forest"' in page
    for number in planted:
        assert f'<a href="/studies/{number}">s{number} none</a>' in page
    [address] = re.findall(r'href="([^"]+)">JSON', page)
    assert viewer.get(html.unescape(address)).json() == found
    [table] = re.findall(r'href="([^"]+)" download="comparison.csv">CSV', page)
    answer = viewer.get(html.unescape(table))
    assert answer.headers["content-type"].startswith("text/csv")
    for row, group in zip(csv.DictReader(io.StringIO(answer.text)), found["groups"], strict=True):
        assert (row["group"], row["reference"]) == (group["name"], found["reference"])
        assert (float(row["mean"]), int(row["pairs"])) == (group["mean"], group["pairs"])
        decision = (group["difference"] or {}).get("decision")
        assert row["decision"] == (decision or "")
    typed = read(viewer, "/compare", studies=f"s{planted[0]}, {planted[1]}")
    assert found["sentence"] in text_of(typed)


def test_what_does_not_pair_leads_to_a_comparison_that_has_it(
    viewer: TestClient, sessions: Sessions, planted: list[int]
) -> None:
    with sessions.begin() as session:
        training = {"training": {"epochs": 2, "batch_size": 8}}
        other = make_study(session, cells=make_cells(seeds=range(8), **training), spec=SPEC)
    page = read(viewer, "/compare", studies=[planted[0], other.id])
    assert "they differ in training.batch_size" in page
    [address] = re.findall(r'href="([^"]+)">groups by variant, training.batch_size', page)
    finer = text_of(read(viewer, html.unescape(address)))
    assert "variant=none, training.batch_size=8" in finer
    assert "Jobs without a partner" not in finer


def test_groups_lead_to_their_comparison(viewer: TestClient) -> None:
    page = read(viewer, "/results", by="norm.kind", query="study=norms", metric="test_accuracy")
    [address] = re.findall(r'href="([^"]+)">Compare these groups', page)
    shown = text_of(read(viewer, html.unescape(address)))
    assert "Exploratory, by test accuracy" in shown
    assert "the test set confirms what validation has chosen" in shown


def test_a_comparison_of_nothing_says_how_to_come_to_one(viewer: TestClient) -> None:
    assert "You can compare:" in read(viewer, "/compare")
    for wrong, status in (("x", 422), ("1", 422), ("0x3 5", 422), ("99998 7", 404)):
        page = read(viewer, "/compare", status, studies=wrong)
        assert 'id="studies-mistake"' in page
        assert f'value="{wrong}"' in page
    assert "there is no study 99998" in page
