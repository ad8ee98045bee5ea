"""The pages: what they say of jobs and studies, to whom they offer what, and what they ask of a browser."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from api.web import studies
from store.db import Attempt, Changes, Job, database_now, notify
from store.db.engine import JOBS_CHANNEL
from store.jobs import commands
from tests.support.documents import JOB, study
from tests.support.factories import acquire_job, make_worker
from tests.support.trained_study import train_all
from tests.support.waiting import wait_for
from trainer.events import Started

Sessions = sessionmaker[Session]


@pytest.fixture
def trained(member: TestClient, sessions: Sessions, storage: Path) -> int:
    document = study(description="<script>alert(1)</script>")
    made: int = member.post("/api/v1/studies", json=document).json()["id"]
    train_all(sessions, storage)
    return made


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def first_job(client: TestClient, study_id: int) -> int:
    [*_, job] = client.get(f"/api/v1/studies/{study_id}/jobs").json()["items"]
    return int(job["id"])


def test_every_page_keeps_a_browser_to_our_own_files(trained: int, member: TestClient) -> None:
    job = f"/jobs/{first_job(member, trained)}"
    pages = ("/presets", "/presets/lrn", "/datasets", "/datasets/digits", "/admin")
    for path in ("/login", "/", "/studies", f"/studies/{trained}", job, "/jobs/999999", *pages):
        answer = member.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert "unsafe" not in policy
        # Neither scripts nor styles in the page, which the policy would refuse; nor other sites.
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", answer.text)
        assert not re.search(
            r'(?:src|action|href)="(?:https?:)?//',
            answer.text.replace("http://mlflow.test:5000", ""),
        )
        for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
            assert member.get(asset).status_code == 200, asset


def test_what_people_write_is_text(trained: int, member: TestClient) -> None:
    member.patch(f"/api/v1/studies/{trained}", json={"note": "<b>x</b>"})
    page = read(member, f"/studies/{trained}")
    assert "&lt;script&gt;alert" in page
    assert "&lt;b&gt;x" in page
    assert not any(one in page for one in ("<b>x", "<script>alert"))


def test_a_study_begins_with_its_answer_and_what_limits_it(
    trained: int, member: TestClient
) -> None:
    comparison = member.get(f"/api/v1/studies/{trained}/comparison").json()
    page = read(member, f"/studies/{trained}")
    places = [
        page.index(part)
        for part in (
            comparison["verdict"]["sentence"],
            "Variants</h2>",
            "Learning curves</h2>",
            "Jobs</h2>",
        )
    ]
    assert places == sorted(places)
    for reason in comparison["verdict"]["reasons"]:
        assert places[0] < page.index(reason) < places[1]
    for job in member.get(f"/api/v1/studies/{trained}/jobs").json()["items"]:
        assert f'href="/jobs/{job["id"]}"' in page
    for format in ("png", "svg", "pdf"):
        assert f'href="/api/v1/studies/{trained}/figures/differences.{format}"' in page
        assert f'href="/api/v1/studies/{trained}/curves?format={format}"' in page
    sentence = read(member, f"/studies/{trained}/sentence")
    assert comparison["verdict"]["sentence"] in sentence
    assert "<html" not in sentence


def test_htmx_gets_the_part_that_changes_and_a_browser_the_whole(
    trained: int, member: TestClient
) -> None:
    job = f"/jobs/{first_job(member, trained)}"
    for path in ("/", "/studies", f"/studies/{trained}", job, "/admin"):
        whole = read(member, path)
        part = member.get(path, headers={"HX-Request": "true"}).text
        assert part.lstrip().startswith('<div id="part"')
        assert f'data-address="{path}"' in part
        assert "<html" in whole
        # The same lines made both; how long things take may have gone on meanwhile.
        assert re.sub(r"\d+ s", "", part.strip()) in re.sub(r"\d+ s", "", whole)


def test_only_who_may_change_a_study_is_offered_to(
    trained: int, member: TestClient, viewer: TestClient, admin: TestClient
) -> None:
    member.post("/api/v1/jobs", json=JOB)
    [job] = member.get("/api/v1/jobs?status=queued").json()["items"]
    for client, may in ((member, True), (admin, True), (viewer, False)):
        assert (f"/api/v1/studies/{trained}/extend" in read(client, f"/studies/{trained}")) is may
        assert (f"/api/v1/jobs/{job['id']}/cancel" in read(client, f"/jobs/{job['id']}")) is may


def test_now_shows_what_runs_what_waits_and_who_uses_the_machines(
    member: TestClient, sessions: Sessions
) -> None:
    empty = read(member, "/")
    assert all(
        part in empty for part in ("No worker is running", "The queue is empty", "Nobody has used")
    )
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2)
    for seed in (1, 2, 3):
        member.post("/api/v1/jobs", json={**JOB, "seed": seed})
    with sessions.begin() as session:
        assignment = acquire_job(session, "alpha")
        assert assignment is not None
    page = read(member, "/")
    running, waiting = page.split('id="queue"')
    assert f'href="/jobs/{assignment.job_id}"' in running
    assert running.count("alpha cpu") == 2
    assert ">free<" in running
    assert waiting.index("next in line") < waiting.index("behind 1 other")
    assert re.search(r"max</?[^%]*100 %", waiting, re.DOTALL)


def test_what_waits_says_why_and_when_it_may_start(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    study_id = member.post("/api/v1/studies", json=study()).json()["id"]
    train_all(sessions, storage)
    with sessions.begin() as session:
        session.execute(update(Job).values(seconds_used=100.0))
    member.post(f"/api/v1/studies/{study_id}/extend", json={"seeds": 2})
    with sessions.begin() as session:
        running = acquire_job(session)
        assert running is not None
    # It has begun, but nothing tells yet how long it will take.
    first = read(member, "/").split('id="queue"')[1]
    assert "next in line: the only cpu slot is in use" in first
    assert "in about" not in first
    with sessions.begin() as session:
        commands.record_start(session, running.job_id, running.attempt, Started(0, 0, 100, 10))
        commands.record_step(session, running.job_id, running.attempt, 50)
        began = database_now(session) - timedelta(seconds=60)
        session.execute(update(Attempt).where(Attempt.end.is_(None)).values(started_at=began))
    rows = read(member, "/").split('id="queue"')[1]
    # As long again as it took for the first half, then one after the other as long as those before.
    assert re.findall(r"in about (\d+) min", rows) == ["1", "2", "4"]


def test_a_job_that_no_host_can_run_says_so_and_holds_up_no_other(
    member: TestClient, sessions: Sessions
) -> None:
    member.post("/api/v1/jobs", json={**JOB, "resources": {"device": "cuda"}})
    member.post("/api/v1/jobs", json={**JOB, "resources": {"device": "cpu"}})
    with sessions.begin() as session:
        make_worker(session)
    rows = read(member, "/").split('id="queue"')[1]
    assert rows.index("no worker with a device of kind cuda is running") < rows.index(
        "in a moment</td>"
    )


def test_a_job_shows_its_results_history_log_and_files(trained: int, member: TestClient) -> None:
    job = next(
        one
        for one in member.get(f"/api/v1/studies/{trained}/jobs").json()["items"]
        if one["status"] == "succeeded" and one["reason"] != "diverged"
    )
    page = read(member, f"/jobs/{job['id']}")
    assert f"{job['metrics']['test_accuracy'] * 100:.2f} %" in page
    assert page.count("<td>queued</td>") == page.count("<td>succeeded</td>") == 1
    assert f'href="/api/v1/jobs/{job["id"]}/curves?format=pdf"' in page
    for checkpoint in member.get(f"/api/v1/jobs/{job['id']}/checkpoints").json()["items"]:
        assert f"/api/v1/jobs/{job['id']}/checkpoints/{checkpoint['id']}" in page


@pytest.mark.parametrize("path", ["/studies/99999", "/jobs/99999", "/jobs/x", f"/studies/{2**70}"])
def test_what_is_not_there_is_a_page_that_leads_on(member: TestClient, path: str) -> None:
    answer = member.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert 'href="/studies"' in answer.text


def test_lists_are_filtered_and_paged(
    member: TestClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.web.studies.PAGE", 1)
    for name in ("one", "two"):
        made = member.post("/api/v1/studies", json=study(name=name)).json()["id"]
    member.patch(f"/api/v1/studies/{made}", json={"tags": ["mine"]})
    first = read(member, "/studies")
    assert ">two</a>" in first
    assert ">one</a>" not in first
    [older] = re.findall(r'rel="next" href="([^"]+)"', first)
    second = read(member, older.replace("&amp;", "&"))
    assert ">one</a>" in second
    assert 'rel="next"' not in second
    assert ">two</a>" in read(member, "/studies?tag=mine")
    assert "No study matches" in read(member, "/studies?owner=nobody")


def test_a_study_s_results_are_kept_until_one_of_its_jobs_changes(
    trained: int,
    member: TestClient,
    app: FastAPI,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes: Changes = app.state.services.changes
    read_results, asked = studies.read_results, list[int]()
    monkeypatch.setattr(
        studies, "read_results", lambda *given: (asked.append(1), read_results(*given))[1]
    )
    # What was announced before is heard before this.
    with sessions.begin() as session:
        notify(session, JOBS_CHANNEL, "999999999")
    wait_for(lambda: changes._recent[-1] == 999999999, "the training is heard of")
    page = read(member, f"/studies/{trained}")
    assert read(member, f"/studies/{trained}") == page
    assert len(asked) == 1
    # A job of nobody's study changes nothing here; seeds that are added do.
    before = changes.mark
    member.post("/api/v1/jobs", json=JOB)
    wait_for(lambda: changes.mark != before, "the job is heard of")
    read(member, f"/studies/{trained}")
    assert len(asked) == 1
    before = changes.mark
    member.post(f"/api/v1/studies/{trained}/extend", json={"seeds": 1})
    wait_for(lambda: changes.mark != before, "the seeds are heard of")
    assert read(member, f"/studies/{trained}").count('class="status queued"') > 1
    assert len(asked) == 2
    # Tags and notes are read each time.
    member.patch(f"/api/v1/studies/{trained}", json={"tags": ["mine"]})
    assert "#mine" in read(member, f"/studies/{trained}")


def test_a_study_s_sentence_is_kept_as_its_results_are(
    trained: int, member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_verdict, asked = studies.read_verdict, list[int]()
    monkeypatch.setattr(
        studies, "read_verdict", lambda *given: (asked.append(1), read_verdict(*given))[1]
    )
    sentence = read(member, f"/studies/{trained}/sentence")
    assert read(member, f"/studies/{trained}/sentence") == sentence
    assert len(asked) == 1
    assert member.get("/studies/99999/sentence").status_code == 404


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "/datasets/digits?seed=-1",
            "The parameter seed: must be at least 0, but got &#34;-1&#34;.",
        ),
        (
            "/studies?archived=maybe",
            "The parameter archived: must be true or false, but got &#34;maybe&#34;.",
        ),
        (
            "/studies?project=" + 201 * "x",
            "The parameter project: must have at most 200 characters, but got ",
        ),
        (
            "/submit?preset=" + 300 * "x",
            "The parameter preset: must have at most 200 characters, but got ",
        ),
    ],
)
def test_a_parameter_that_is_refused_is_named_with_what_is_allowed(
    member: TestClient, address: str, said: str
) -> None:
    answer = member.get(address)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert said in answer.text
    assert "there is nothing at" not in answer.text


def test_pages_answer_a_head_with_what_they_answer_a_get_but_the_body(
    trained: int, member: TestClient
) -> None:
    places = ("/", "/studies", f"/studies/{trained}", "/admin", "/login", "/docs", "/studies/99999")
    for path in places:
        whole, head = member.get(path), member.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
    # What changes something takes no HEAD.
    assert member.head("/submit/check").status_code == 405
