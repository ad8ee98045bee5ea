"""A search whose last trial the kernel killed goes on without anybody's help."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.jobs import commands
from store.jobs.acquire import Assignment
from store.studies import studies
from tests.support.factories import acquire_job, make_worker
from tests.support.following_jobs import (
    create_study,
    end_job,
)
from tests.support.result_rows import make_study
from trainer.events import Finished
from worker.sweep.searches import continue_halted

Sessions = sessionmaker[Session]
SEARCH: dict[str, Any] = {
    "space": {"optimizer.lr": {"kind": "float", "low": 1e-3, "high": 1.0, "log": True}},
    "trials": 4,
    "seeds": [100],
    "sampler": {"kind": "tpe", "startup": 2, "batch": 2},
}


@pytest.fixture
def study_id(sessions: Sessions) -> int:
    base = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd"},
    }
    study = make_study(
        seeds=2, variants={"none": {"norm": {"kind": "none"}}}, base=base, search=SEARCH
    )
    with sessions.begin() as session:
        make_worker(session, cpu=8)
        return create_study(session, study).id


def acquire(sessions: Sessions) -> Assignment:
    with sessions.begin() as session:
        assignment = acquire_job(session)
    assert assignment is not None
    return assignment


def kill(sessions: Sessions, assignment: Assignment) -> None:
    """Until no attempts are left, as its worker's parent ends it."""
    while True:
        with sessions.begin() as session:
            job = commands.end_attempt(
                session, assignment.job_id, assignment.attempt, "oom", by_kernel=True
            )
            if job.status == "failed":
                return
        assignment = acquire(sessions)


def finish(sessions: Sessions, assignment: Assignment) -> None:
    with sessions.begin() as session:
        metrics = {"best_val_accuracy": 0.5, "test_accuracy": 0.5}
        end_job(session, assignment, Finished("completed", metrics))


def count_jobs(sessions: Sessions, study_id: int) -> tuple[int, int]:
    """Trials, and others."""
    with sessions.begin() as session:
        jobs = studies.jobs_of(session, study_id)
        trials = sum(job.trial is not None for job in jobs)
        return trials, len(jobs) - trials


@pytest.fixture
def in_environment(
    monkeypatch: pytest.MonkeyPatch, worker_database_url: str, tmp_path: Path
) -> None:
    """Of the process that makes what follows."""
    monkeypatch.setenv("NORMLAB_DATABASE_URL", worker_database_url)
    monkeypatch.setenv("NORMLAB_REDIS_URL", "redis://nowhere")
    monkeypatch.setenv("NORMLAB_STORAGE", str(tmp_path))


@pytest.mark.usefixtures("in_environment")
def test_a_search_goes_on_after_the_kernel_killed_the_last_trial_of_a_batch(
    sessions: Sessions, study_id: int
) -> None:
    assert continue_halted(sessions) == []
    first, last = acquire(sessions), acquire(sessions)
    finish(sessions, first)
    kill(sessions, last)
    assert count_jobs(sessions, study_id) == (2, 0)
    assert continue_halted(sessions) == [study_id]
    assert count_jobs(sessions, study_id) == (4, 0)
    # Its trials are to be trained: nobody else is needed.
    assert continue_halted(sessions) == []
    first, last = acquire(sessions), acquire(sessions)
    finish(sessions, first)
    kill(sessions, last)
    assert continue_halted(sessions) == [study_id]
    assert count_jobs(sessions, study_id) == (4, 2)
    assert continue_halted(sessions) == []


def test_what_waits_for_a_person_is_left_to_them(sessions: Sessions, study_id: int) -> None:
    first, last = acquire(sessions), acquire(sessions)
    with sessions.begin() as session:
        commands.fail(session, first.job_id, first.attempt, "disk", "it is full")
    kill(sessions, last)
    assert continue_halted(sessions) == []
    assert count_jobs(sessions, study_id) == (2, 0)
