"""The pages: what they say of jobs and studies, to whom they offer what, and what they ask of a browser."""

import html
import re
import threading
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.web import studies
from store.db import Changes, notify
from store.db.engine import JOBS_CHANNEL
from tests.support.documents import JOB, study
from tests.support.trained_study import train_all
from tests.support.waiting import wait_for

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
    member.post("/api/v1/projects", json={"name": "shelf"})
    member.post("/api/v1/webhooks", json={"url": "https://chat.example/hooks/1"})
    catalog = ("/catalog", "/presets", "/presets/lrn", "/datasets", "/datasets/digits")
    pages = (*catalog, "/admin", "/projects", "/projects/shelf", "/webhooks")
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


def test_a_study_says_how_far_its_search_is(member: TestClient) -> None:
    search = {
        "space": {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 1.0, "log": True}},
        "trials": 6,
        "seeds": [100],
        "sampler": {"kind": "tpe", "startup": 2},
    }
    made = member.post("/api/v1/studies", json=study(search=search)).json()
    assert "0 of 12 trials of its search" in read(member, f"/studies/{made['id']}")


def test_a_study_that_grows_says_where_it_stands(member: TestClient) -> None:
    made = member.post("/api/v1/studies", json=study(seeds="until decided, at most 40")).json()
    page = read(member, f"/studies/{made['id']}")
    assert "look 1 of 5: 16 jobs to come until 8 of at most 40 seeds" in page
    again = read(member, f"/submit?study={made['id']}")
    assert "until: decided" in again
    assert "seeds: 8" in again


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
    # Who hears the page is told when it changes.
    assert re.search(r'<h2 id="answer"[^>]* aria-live="polite">', page)
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


def hear_all(changes: Changes, sessions: Sessions) -> None:
    """What was announced before is heard before this."""
    with sessions.begin() as session:
        notify(session, JOBS_CHANNEL, "999999999")
    wait_for(lambda: changes._recent[-1] == 999999999, "the training is heard of")


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
    hear_all(changes, sessions)
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


def test_a_study_is_shown_at_once_though_its_results_take_long(
    trained: int, member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_results, may_read = studies.read_results, threading.Event()
    monkeypatch.setattr(
        studies, "read_results", lambda *given: (may_read.wait(), read_results(*given))[1]
    )
    with monkeypatch.context() as impatient:
        impatient.setattr(studies, "FIRST_LATE_SECONDS", 0.01)
        early = read(member, f"/studies/{trained}")
    with monkeypatch.context() as impatient:
        # Of a large study nobody waits for the results.
        impatient.setattr(studies, "MOST_AWAITED_JOBS", 3)
        assert "Reading the results" in read(member, f"/studies/{trained}")
    # What needs no results is there, and the page will ask again.
    assert "Reading the results of 4 jobs" in early
    assert "Run again with changes" in early
    assert " data-late>" in early
    may_read.set()
    whole = read(member, f"/studies/{trained}")
    assert "Reading the results" not in whole
    assert 'id="variants"' in whole
    assert "data-late" not in whole


def test_a_study_s_sentence_is_kept_as_its_results_are(
    trained: int,
    member: TestClient,
    app: FastAPI,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hear_all(app.state.services.changes, sessions)
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


def test_a_study_that_has_ended_can_be_archived_brought_back_and_deleted(
    member: TestClient, viewer: TestClient
) -> None:
    made = member.post("/api/v1/studies", json=study()).json()["id"]
    page = read(member, f"/studies/{made}")
    assert "Archive</button>" not in page
    assert "Delete</button>" not in page
    member.post(f"/api/v1/studies/{made}/cancel")
    for archived, said in ((False, "Archive"), (True, "Unarchive")):
        member.patch(f"/api/v1/studies/{made}", json={"archived": archived})
        page = read(member, f"/studies/{made}")
        [button] = [one for one in re.findall(r"<button [^>]*>[^<]*", page) if "rchive" in one]
        assert button.endswith(f">{said}")
        body, undo = (re.findall(rf'data-{name}="([^"]+)"', button)[0] for name in ("body", "undo"))
        assert (("true" in body), ("true" in undo)) == (not archived, archived)
        [delete] = [one for one in re.findall(r"<button [^>]*>[^<]*", page) if "Delete" in one]
        assert f'data-send="DELETE /api/v1/studies/{made}"' in delete
        assert "can't be undone" in html.unescape(delete)
        assert "rchive</button>" not in read(viewer, f"/studies/{made}")
    assert " · archived" in page
