"""Jobs as people handle them."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.catalog import projects
from store.db.errors import BadCursor, DatasetUnavailable, NotFound, WrongStatus
from store.db.lifecycle import lock
from store.db.models import Job
from store.jobs import commands
from store.jobs.commands import NewJob, RequestedAction
from store.results import result_rows
from tests.support.factories import (
    acquire_job,
    cancel_registration,
    find_digits,
    make_dataset,
    make_job,
    make_spec,
    make_study,
    make_user,
    make_worker,
)
from trainer.events import CheckpointSaved
from trainer.spec.job import content_hash

Sessions = sessionmaker[Session]


def test_a_new_job_is_queued_with_what_its_spec_says(sessions: Sessions) -> None:
    resources = {"device": "cuda", "timeout": "2h", "priority": "high", "max_attempts": 5}
    spec = make_spec(project="cats", seed=7, resources=resources)
    new = NewJob(spec, "a name", "batch", {"training.batch_size": 8}, ["beware"])
    with sessions.begin() as session:
        digits = find_digits(session)
        made = commands.create(session, make_user(session, "ada"), "cats", digits, [new])[0]
        assert digits.info is not None
        digest = content_hash(spec, digits.info["digest"])

    with sessions.begin() as session:
        job = commands.find(session, made.id)

    assert job is not None
    assert job.project is not None
    assert (job.owner.name, job.project.name, job.kind, job.status) == (
        "ada", "cats", "training", "queued",
    )  # fmt: skip
    assert (job.name, job.variant, job.seed) == ("a name", "batch", 7)
    assert (job.point, job.warnings, job.hash) == ({"training.batch_size": 8}, ["beware"], digest)
    assert (job.device, job.timeout_seconds, job.priority, job.max_attempts) == (
        "cuda", 7200, 2, 5,
    )  # fmt: skip
    assert (job.attempt, job.seconds_used, job.metrics, job.requested_action) == (0, 0, {}, None)


def test_a_project_is_made_once_and_keeps_its_first_owner(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session), make_user(session)
        make_job(session, ada, project="shelf")
        make_job(session, bob, project="shelf")

        assert [(one.name, one.owner_id) for one in projects.list_projects(session)] == [
            ("shelf", ada.id)
        ]


def test_an_owner_from_another_session_is_fine(sessions: Sessions) -> None:
    with sessions() as other, sessions.begin() as session:
        owner = make_user(other)
        other.commit()

        assert make_job(session, owner).owner_id == owner.id


def test_a_job_on_a_failed_dataset_is_refused(sessions: Sessions) -> None:
    with sessions.begin() as session:
        dataset = make_dataset(session, "cats", ready=False)
        cancel_registration(session, dataset)

        with pytest.raises(DatasetUnavailable, match="cats could not be registered: its"):
            make_job(session, dataset=dataset)


def test_an_unknown_job_is_not_found(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert commands.find(session, 10**9) is None
        with pytest.raises(NotFound):
            lock(session, 10**9)


def test_jobs_are_listed_newest_first_page_by_page(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ids = [make_job(session).id for _ in range(5)]
        seen: list[int] = []
        cursor = None
        for expected in (2, 2, 1):
            page = commands.list_jobs(session, cursor=cursor, limit=2)
            assert len(page.items) == expected
            seen += [job.id for job in page.items]
            cursor = page.next_cursor

    assert seen == ids[::-1]
    assert cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "aWQ6LTE", "aWQ6", "é", "aWQ6" + "MTEx" * 20])
def test_a_cursor_that_nobody_gave_out_is_refused(sessions: Sessions, cursor: str) -> None:
    with sessions.begin() as session, pytest.raises(BadCursor):
        commands.list_jobs(session, cursor=cursor)


FILTERS: dict[str, Callable[[Job], Any]] = {
    "owner": lambda job: job.owner.name,
    "project": lambda job: job.project.name if job.project else None,
    "study_id": lambda job: job.study_id,
    "status": lambda job: job.status,
    "variant": lambda job: job.variant,
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 5),
        ({"owner": "ada"}, 1),
        ({"project": "shelf"}, 1),
        ({"status": "cancelled"}, 1),
        ({"variant": "batch"}, 2),
        ({"variant": "batch", "status": "cancelled"}, 0),
        ({"study_id": 0}, 0),
    ],
)
def test_lists_are_filtered(sessions: Sessions, filters: dict[str, Any], expected: int) -> None:
    with sessions.begin() as session:
        make_dataset(session, ready=False)
        study = make_study(session)
        cancelled = make_job(session, make_user(session, "ada"), project="shelf")
        commands.request_action(session, cancelled, "cancel", "ada")

        found = commands.list_jobs(session, **filters).items
        assert len(commands.list_jobs(session, study_id=study.id).items) == 4

    assert len(found) == expected
    for job in found:
        assert all(FILTERS[name](job) == value for name, value in filters.items())


def test_a_queued_job_is_cancelled_at_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)
        commands.request_action(session, job, "cancel", "ada")
        last = result_rows.transitions(session, job.id)[-1]

    assert (job.status, job.reason, job.requested_action) == ("cancelled", "cancelled", None)
    assert job.finished_at is not None
    assert (last.who, last.from_status, last.to_status) == ("ada", "queued", "cancelled")


def test_a_queued_job_pauses_and_queues_again_at_the_end(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)
        before = job.queued_at
    with sessions.begin() as session:
        commands.request_action(session, job, "pause", "ada")
        commands.request_action(session, job, "pause", "ada")
    with sessions.begin() as session:
        found = commands.find(session, job.id)
        assert found is not None
        assert found.status == "paused"
        commands.resume(session, found, "ada")
        assert found.status == "queued"
        assert found.queued_at > before


def test_a_paused_job_can_be_cancelled(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)
        commands.request_action(session, job, "pause", "ada")
        commands.request_action(session, job, "cancel", "ada")

    assert job.status == "cancelled"


def test_a_running_job_is_asked_and_a_request_to_cancel_is_not_weakened(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        acquire_job(session)
        requests: list[tuple[RequestedAction, str]] = [
            ("preempt", "preempt"),
            ("cancel", "cancel"),
            ("pause", "cancel"),
        ]
        for action, expected in requests:
            commands.request_action(session, job, action, "ada")
            assert (job.status, job.requested_action, job.requested_by) == (
                "running",
                expected,
                "ada",
            )


@pytest.mark.parametrize("action", ["cancel", "pause", "preempt"])
def test_a_finished_job_is_asked_nothing(sessions: Sessions, action: Any) -> None:
    with sessions.begin() as session:
        job = make_job(session)
        commands.request_action(session, job, "cancel", "ada")

        with pytest.raises(WrongStatus, match="it is cancelled"):
            commands.request_action(session, job, action, "ada")


def test_only_a_running_job_is_preempted(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)

        with pytest.raises(WrongStatus, match="cannot preempt"):
            commands.request_action(session, job, "preempt", "ada")


def test_only_a_paused_job_is_resumed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)

        with pytest.raises(WrongStatus, match="cannot resume"):
            commands.resume(session, job, "ada")


def test_a_retried_job_has_all_its_attempts_and_time_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session, resources={"max_attempts": 2})
        for attempt in (1, 2):
            acquire_job(session)
            commands.end_attempt(session, job.id, attempt, "error", error="boom", seconds_used=5.0)
        assert (job.status, job.error, job.seconds_used) == ("failed", "boom", 10.0)

        commands.retry(session, job, "ada")
        assert (job.status, job.reason, job.error, job.finished_at) == ("queued", None, None, None)

        assignment = acquire_job(session)
        assert assignment is not None
        assert (assignment.attempt, assignment.seconds_used) == (3, 0.0)
        assert commands.end_attempt(session, job.id, 3, "error").status == "queued"
        acquire_job(session)
        assert commands.end_attempt(session, job.id, 4, "error").status == "failed"


def test_a_retried_job_keeps_its_checkpoints(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        acquire_job(session)
        saved = CheckpointSaved("last", 1, 10, "jobs/1/last", "digest", 5)
        commands.record_checkpoint(session, job.id, 1, saved)
        commands.fail(session, job.id, 1, "timeout", "too long")
        commands.retry(session, job, "ada")
        assignment = acquire_job(session)

    assert assignment is not None
    assert assignment.checkpoints == (saved,)


def test_what_has_not_failed_is_not_retried(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        with pytest.raises(WrongStatus):
            commands.retry(session, job, "ada")
        acquire_job(session)
        commands.finish(session, job.id, 1, reason="completed")
        with pytest.raises(WrongStatus):
            commands.retry(session, job, "ada")
