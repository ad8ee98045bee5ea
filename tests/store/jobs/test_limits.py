"""Limits of people and roles: what refuses a submission, and what holds jobs back."""

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.errors import LimitReached, PriorityRefused
from store.db.models import Attempt, Job, Usage, User
from store.jobs import commands, limits, queue, wakeups
from store.jobs.limits import Limits
from store.studies import studies
from tests.support.factories import (
    acquire_job,
    make_cells,
    make_job,
    make_study,
    make_user,
    make_worker,
)
from tests.support.statements import counting_statements

Sessions = sessionmaker[Session]


def limited(session: Session, **values: Any) -> User:
    """A member with these limits."""
    user = make_user(session)
    limits.change(session, user, values)
    return user


def test_a_person_s_own_limit_takes_precedence_over_that_of_the_role(sessions: Sessions) -> None:
    with sessions.begin() as session:
        limits.change(session, "member", {"running": 2, "queued": 50})
        ada = limited(session, running=5)
        assert limits.in_force(session, ada.id) == Limits(running=5, queued=50, priority="high")

        limits.change(session, ada, {"running": None})
        limits.change(session, "member", {"queued": None, "priority": "normal"})
        assert limits.in_force(session, ada.id) == Limits(running=2, priority="normal")
        assert limits.of_people(session) == {}
        assert limits.of_roles(session)["admin"] == Limits(priority="urgent")


@pytest.mark.parametrize(
    ("limit", "resources", "said"),
    [
        (
            {"timeout_seconds": 1800},
            {},
            "train for 30 min at most, but resources.timeout is 1 h 00 min",
        ),
        ({"queued": 0}, {}, "may have 0 waiting jobs and has 0; .* ask an admin"),
    ],
)
def test_a_job_beyond_a_limit_is_refused(
    sessions: Sessions, limit: Mapping[str, Any], resources: Mapping[str, Any], said: str
) -> None:
    with sessions.begin() as session:
        ada = limited(session, **limit)
        with pytest.raises(LimitReached, match=said):
            make_job(session, ada, resources=dict(resources))
        with pytest.raises(LimitReached, match=said):
            make_study(session, ada)
        assert session.scalars(select(func.count()).select_from(Job)).one() == 0


@pytest.mark.parametrize(
    ("role", "refused", "words"),
    [("viewer", "high", "low or normal"), ("member", "urgent", "low, normal or high")],
)
def test_a_role_may_ask_for_some_priorities(
    sessions: Sessions, role: Any, refused: str, words: str
) -> None:
    with sessions.begin() as session:
        ada = make_user(session, role=role)
        make_job(session, ada, resources={"priority": words.split()[-1]})
        with pytest.raises(PriorityRefused, match=f"may ask for priority {words}, not {refused}"):
            make_job(session, ada, resources={"priority": refused})
        limits.change(session, ada, {"priority": "urgent"})
        make_job(session, ada, resources={"priority": "urgent"})


def test_waiting_jobs_are_counted_together(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        ada = limited(session, queued=4)
        make_study(session, ada)
        with pytest.raises(
            LimitReached, match="may have 4 waiting jobs and has 4; this would add 1;"
        ):
            make_job(session, ada)
        make_job(session)

        assert acquire_job(session) is not None
        job = make_job(session, ada)
        commands.request_action(session, job, "cancel", "ada")
        make_job(session, ada)
        with pytest.raises(LimitReached):
            commands.retry(session, job, "ada")


def test_a_paused_job_that_was_accepted_waits_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = limited(session, queued=1)
        paused = make_job(session, ada)
        commands.request_action(session, paused, "pause", "ada")
        make_job(session, ada)
        commands.resume(session, paused, "ada")
        assert paused.status == "queued"


def test_a_job_that_waits_for_an_equal_one_counts(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = limited(session, queued=2)
        first, second = make_job(session, ada), make_job(session, ada)
        session.execute(update(Job).where(Job.id == second.id).values(waits_for=first.id))
        with pytest.raises(LimitReached):
            make_job(session, ada)


def test_a_retry_locks_the_person_before_the_job(sessions: Sessions, engine: Engine) -> None:
    with sessions.begin() as session:
        job = make_job(session, limited(session, queued=1))
        commands.request_action(session, job, "cancel", "ada")
    with sessions.begin() as session, counting_statements(engine) as statements:
        commands.retry(session, session.get_one(Job, job.id), "ada")
    locks = [one for one in statements if " FOR " in one]
    assert ["FROM users" in one for one in locks] == [True, *[False] * (len(locks) - 1)]
    assert any("FROM jobs" in one for one in locks)


def test_of_two_submissions_at_once_one_has_the_last_place(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = limited(session, queued=1)
    answers: list[str] = []
    start = threading.Barrier(4)

    def submit() -> None:
        start.wait()
        try:
            with sessions.begin() as session:
                make_job(session, session.get_one(User, ada.id))
            answers.append("accepted")
        except LimitReached:
            answers.append("refused")

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == ["accepted", "refused", "refused", "refused"]


def test_what_a_study_trains_after_its_trials_is_not_refused(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = limited(session, queued=4)
        study = make_study(session, ada)
        more = make_cells(seeds=(0, 1, 2))
        with pytest.raises(LimitReached):
            studies.add_jobs(session, study, more, "ada", {**study.spec, "seeds": 3})
        assert len(studies.add_jobs(session, study, more, "ada")) == 2


def test_limits_that_do_not_concern_a_job_cost_no_statement(
    sessions: Sessions, engine: Engine
) -> None:
    with sessions.begin() as session:
        limits.change(session, "member", {"running": 3, "timeout_seconds": 7200})
        ada = make_user(session)
        make_job(session, ada)
    with sessions.begin() as session:
        owner = session.get_one(User, ada.id)
        with counting_statements(engine) as statements:
            make_job(session, owner)
    # The dataset, its lock, the project, and the job.
    assert len(statements) == 4


def test_no_more_jobs_run_than_the_limit_and_others_go_on(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=4)
        ada = limited(session, running=1)
        first, second = make_job(session, ada), make_job(session, ada)
        other = make_job(session)

        assert [acquire_id(session) for _ in range(3)] == [first.id, other.id, None]
        assert wakeups.due(session) == {}
        [place] = queue.waiting(session)
        assert (place.job.id, place.reached) == (second.id, "running")

        commands.finish(session, first.id, 1, reason="completed")
        assert acquire_id(session) == second.id


def test_a_day_s_device_time_holds_back_until_the_next_day(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        ada = limited(session, device_seconds_per_day=1000.0)
        job = make_job(session, ada)
        assert acquire_id(session) == job.id
        row = session.get_one(Attempt, (job.id, 1))
        row.started_at -= timedelta(seconds=2000)
        session.flush()
        commands.finish(session, job.id, 1, reason="completed")
        today = session.scalars(select(Usage.day_seconds)).one()
        # Just after midnight it has used less of this day.
        assert 0.0 < today <= 2001.0
        session.execute(update(Usage).values(day_seconds=1000.0))
        waiting = make_job(session, ada)

        assert acquire_id(session) is None
        assert queue.waiting(session)[0].reached == "device_seconds_per_day"
        session.execute(update(Usage).values(as_of=Usage.as_of - timedelta(days=1)))
        assert acquire_id(session) == waiting.id


def test_running_jobs_count_towards_the_day_with_their_estimate(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        ada = limited(session, device_seconds_per_day=200.0)
        first, _ = make_job(session, ada), make_job(session, ada)
        assert acquire_id(session) == first.id
        assert acquire_id(session) is None


def acquire_id(session: Session) -> int | None:
    assignment = acquire_job(session)
    return assignment.job_id if assignment else None
