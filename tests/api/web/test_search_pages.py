"""What pages show of a study that tries settings first: how far it is, what it chose, and each trial's job."""

import html
import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from store.db import Job, Study, database_now
from studies.tuning import continue_tuning
from tests.api.web.test_results import text_of
from tests.support.documents import study
from tests.support.factories import set_job
from tests.support.trained_study import train_all

Sessions = sessionmaker[Session]
RATES = [0.001, 0.01, 0.1, 1.0]


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture
def tuned(member: TestClient, sessions: Sessions) -> int:
    """Its trials wait."""
    tune = {"optimizer.lr": RATES, "seeds": [100]}
    document = study(name="tuned", tune=tune, base__optimizer={"kind": "sgd"})
    return int(member.post("/api/v1/studies", json=document).json()["id"])


def test_until_settings_are_chosen_their_jobs_are_where_one_looks(
    tuned: int, member: TestClient
) -> None:
    page = read(member, f"/studies/{tuned}")
    assert 'id="tuning"' not in page
    [address] = re.findall(r'<a href="([^"]+)">8 more jobs try settings</a>', page)
    listing = read(member, html.unescape(address))
    assert listing.count('<span class="status queued">') == 8
    assert "optimizer.lr 0.01" in text_of(listing)
    # Nobody else's list has them, unless it is asked for.
    assert 'class="status queued"' not in read(member, "/results")
    assert read(member, "/results?trials=true").count('class="status queued"') == 8


def test_a_trial_says_what_it_tries(tuned: int, member: TestClient) -> None:
    [*_, first] = member.get(f"/api/v1/studies/{tuned}/jobs").json()["items"]
    page = text_of(read(member, f"/jobs/{first['id']}"))
    assert "A trial of tuned: none with lr=0.001." in page
    assert "baseline" not in page


def test_a_study_shows_what_each_arm_chose_and_the_best_of_fewer_trials(
    tuned: int, member: TestClient, sessions: Sessions, storage: Path
) -> None:
    train_all(sessions, storage)
    with sessions.begin() as session:
        for job in session.scalars(select(Job)):
            assert job.trial is not None
            rate = float(job.trial["optimizer.lr"])
            accuracy = 0.5 + 0.1 * RATES.index(rate)
            set_job(session, job.id, reason="completed", metrics={"best_val_accuracy": accuracy})
        continue_tuning(session, tuned)
    page = read(member, f"/studies/{tuned}")
    section = text_of(page[page.index('id="tuning"') : page.index('id="curves"')])
    for arm in ("none", "group"):
        assert f"{arm}: lr=1.0, with 80.00 % on validation" in section
    assert "With fewer trials" in section
    assert "of 4 trials" in section
    assert section.count("lr=0.01") == 2
    assert "Their 8 jobs" in section


def test_a_search_shows_what_mattered_and_what_its_trials_were_not(
    tuned: int, member: TestClient, sessions: Sessions, storage: Path
) -> None:
    train_all(sessions, storage)
    with sessions.begin() as session:
        for job in session.scalars(select(Job)):
            set_job(session, job.id, reason="completed", metrics={"best_val_accuracy": 0.5})
        continue_tuning(session, tuned)
        row = session.get_one(Study, tuned)
        assert row.tuning is not None
        none, group = row.tuning["arms"]
        misfit = {"setting": {"optimizer.lr": 5.0}, "why": "it is too high"}
        row.tuning = {
            **row.tuning,
            "arms": [
                {**none, "searched": {"refused": [misfit]}},
                {**group, "importance": {"optimizer.lr": 1.0}},
            ],
        }
    page = read(member, f"/studies/{tuned}")
    section = text_of(page[page.index('id="tuning"') : page.index('id="curves"')])
    assert (
        "none: 1 setting that can't be trained was skipped, such as lr=5.0: it is too high"
        in section
    )
    assert "Importance of settings" in section
    assert "group 4 100%" in section
    assert "group: fewer than 20 trials" in section


def test_a_study_under_way_says_how_far_it_is(
    member: TestClient, sessions: Sessions, tuned: int
) -> None:
    # What will be trained is not known before settings are chosen.
    assert "% done" not in read(member, f"/studies/{tuned}")
    made = member.post("/api/v1/studies", json=study(name="plain")).json()["id"]
    page = read(member, f"/studies/{made}")
    assert "0 % done" in page
    assert "current pace" not in page
    with sessions.begin() as session:
        for number, job in enumerate(session.scalars(select(Job).where(Job.study_id == made))):
            began = database_now(session) - timedelta(seconds=600)
            status = {0: "succeeded", 1: "running"}.get(number, "queued")
            values = {"step": 50, "total_steps": 100} if status == "running" else {}
            start = None if status == "queued" else began
            ended = began if status == "succeeded" else None
            set_job(session, job.id, status=status, started_at=start, finished_at=ended, **values)
    page = read(member, f"/studies/{made}")
    assert "38 % done" in page
    assert "ends in about 16 min at its current pace" in page
