"""Studies whose later jobs follow from what earlier ones came to: trials, their choice, and the seeds of the next look."""

from collections.abc import Callable, Sequence
from typing import Literal

from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job, Study
from store.jobs import commands
from store.jobs.acquire import Assignment
from store.jobs.commands import NewJob
from store.studies import studies
from studies.spec.expand import expand
from studies.spec.study import StudySpec
from studies.spec.trials import expand_trials
from tests.support.factories import acquire_job, in_transactions_at_once, make_user
from worker.execution.outcome import NetworkChecks, Outcome, record_outcome
from worker.execution.recorder import NotPrepared

Sessions = sessionmaker[Session]
End = Callable[[Session, Assignment], None]


def create_study(session: Session, study: StudySpec, owner: str = "ada") -> Study:
    """With its trials, or else with the cells of its first seeds."""
    cells = expand_trials(study) or expand(study)
    new = [NewJob(one.spec, one.name, one.variant, one.point, (), one.trial) for one in cells]
    return studies.create(
        session, make_user(session, owner), study.model_dump(mode="json"), "default", study.name,
        new, planned_seeds=study.seed_list,
    )  # fmt: skip


def acquire_all(sessions: Sessions) -> list[Assignment]:
    """Each in a transaction of its own."""
    assignments = []
    while True:
        with sessions.begin() as session:
            assignment = acquire_job(session)
        if assignment is None:
            return assignments
        assignments.append(assignment)


def end_job(session: Session, assignment: Assignment, outcome: Outcome) -> None:
    """As a worker's recorder does: written again once the networks of the trials that follow are looked at."""
    checks = NetworkChecks()
    while True:
        try:
            with session.begin_nested():
                record_outcome(session, assignment, outcome, 1.0, checks=checks)
            return
        except NotPrepared as error:
            error.prepare()


def end_two_at_once(sessions: Sessions, assignments: Sequence[Assignment], end: End) -> None:
    """The last two, after all others."""
    *first, one, other = assignments
    for assignment in first:
        with sessions.begin() as session:
            end(session, assignment)
    in_transactions_at_once(
        sessions, lambda session: end(session, one), lambda session: end(session, other)
    )


def end_without_hearing(
    sessions: Sessions,
    assignments: Sequence[Assignment],
    action: Literal["cancel", "pause"],
    end: End,
) -> None:
    """All, but the last one is asked for something that it does not hear of."""
    *others, last = assignments
    for assignment in others:
        with sessions.begin() as session:
            end(session, assignment)
    with sessions.begin() as session:
        commands.request_action(session, session.get_one(Job, last.job_id), action, "ada")
    with sessions.begin() as session:
        end(session, last)
