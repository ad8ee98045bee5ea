"""A study's jobs, and what they come to: how many have each status, the study's own that follows from it, how many were
reused, how wrong their bill was, and how far they are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sqlalchemy import Double, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session

from store.db import FINAL_STATUSES, JOB_STATUSES, Job, Study

StudyStatus: TypeAlias = Literal["queued", "running", "paused", "succeeded", "partial", "cancelled"]


@dataclass(frozen=True, slots=True)
class BillOutcome:
    """Of the trained jobs for which something was expected when they were submitted: how many, what was expected,
    and what it was, in seconds."""

    jobs: int
    expected_seconds: float
    seconds: float


@dataclass(slots=True)
class Tally:
    """`counts`: jobs by status, every status is there; `reused`: jobs that equal ones answer."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(JOB_STATUSES, 0))
    reused: int = 0
    bill: BillOutcome | None = None


def status_of(counts: Mapping[str, int]) -> StudyStatus:
    """The study's status from its jobs'. The first that holds:

    - `running`: a job runs, or one waits while others have ended (the study has begun);
    - `queued`: a job waits, and none has ended;
    - `paused`: a job is paused (the rest, if any, has ended);
    - `succeeded`: every job succeeded (diverged ones, too);
    - `cancelled`: every job was cancelled;
    - `partial`: all have ended, some otherwise than others or all failed.
    """
    of = {name: counts.get(name, 0) for name in JOB_STATUSES}
    ended = of["succeeded"] + of["failed"] + of["cancelled"]
    if of["running"] or (of["queued"] and ended):
        return "running"
    if of["queued"]:
        return "queued"
    if of["paused"]:
        return "paused"
    if of["succeeded"] == ended:
        return "succeeded"
    return "cancelled" if of["cancelled"] == ended else "partial"


def count_jobs(session: Session, study_ids: Collection[int]) -> dict[int, Tally]:
    found = {study_id: Tally() for study_id in study_ids}
    is_billed = and_(
        Job.status == "succeeded", Job.reused_from.is_(None), Job.expected_seconds.is_not(None)
    )
    statement = (
        select(
            Job.study_id,
            Job.status,
            func.count(),
            func.count(Job.reused_from),
            func.count().filter(is_billed),
            func.sum(Job.expected_seconds).filter(is_billed),
            func.sum(Job.seconds_used).filter(is_billed),
        )
        .where(Job.study_id.in_(study_ids))
        .group_by(Job.study_id, Job.status)
    )
    for study_id, status, count, reused, billed, expected, seconds in session.execute(statement):
        assert study_id is not None
        tally = found[study_id]
        tally.counts[status] = count
        tally.reused += reused
        if expected is not None:
            tally.bill = BillOutcome(billed, expected, seconds)
    return found


@dataclass(frozen=True, slots=True)
class Pace:
    """How much of a study's jobs is done, from 0 to 1; `seconds_left`: as fast as since its first job started, None before
    that."""

    share: float
    seconds_left: float | None


def measure_pace(session: Session, study_id: int) -> Pace:
    """Of the jobs that there are: those that a search has yet to make aren't counted."""
    done = case(
        (Job.status.in_(FINAL_STATUSES), 1.0),
        else_=func.least(
            1.0, func.coalesce(cast(Job.step, Double) / func.nullif(Job.total_steps, 0), 0.0)
        ),
    )
    passed = func.extract("epoch", func.clock_timestamp() - func.min(Job.started_at))
    statement = select(func.avg(done), passed).where(Job.study_id == study_id)
    share, seconds = session.execute(statement).one()
    if not share or seconds is None:
        return Pace(share or 0.0, None)
    return Pace(share, float(seconds) * (1 - share) / share)


@dataclass(frozen=True, slots=True)
class TrialTally:
    """Of a study's trials: how many were made, and how many of them have succeeded or failed."""

    made: int
    succeeded: int
    failed: int


def count_trials(session: Session, study_ids: Collection[int]) -> dict[int, TrialTally]:
    """Of those that have any."""
    statement = (
        select(
            Job.study_id,
            func.count(),
            func.count().filter(Job.status == "succeeded"),
            func.count().filter(Job.status == "failed"),
        )
        .where(Job.study_id.in_(study_ids), Job.trial.is_not(None))
        .group_by(Job.study_id)
    )
    return {
        study_id: TrialTally(made, succeeded, failed)
        for study_id, made, succeeded, failed in session.execute(statement)
        if study_id is not None
    }


def count_cells(session: Session, study_ids: Collection[int]) -> dict[int, dict[str, int]]:
    """How many of each study's jobs have each status, trials aside; every status is there."""
    counts = {study_id: dict.fromkeys(JOB_STATUSES, 0) for study_id in study_ids}
    statement = (
        select(Job.study_id, Job.status, func.count())
        .where(Job.study_id.in_(study_ids), Job.trial.is_(None))
        .group_by(Job.study_id, Job.status)
    )
    for study_id, status, count in session.execute(statement):
        if study_id is not None:
            counts[study_id][status] = count
    return counts


def list_unchosen(session: Session, reasons: Collection[str]) -> Sequence[int]:
    """Studies whose tuning or search has not chosen, with a trial that has failed for one of these reasons."""
    failed = select(Job.id).where(
        Job.study_id == Study.id,
        Job.trial.is_not(None),
        Job.status == "failed",
        Job.reason.in_(reasons),
    )
    tries = or_(*(Study.spec[name].astext.is_not(None) for name in ("search", "tune")))
    unchosen = select(Study.id).where(Study.tuning.is_(None), tries, failed.exists())
    return session.scalars(unchosen.order_by(Study.id)).all()


def list_job_ids(session: Session, study_id: int) -> Sequence[int]:
    """Of all jobs of the study, also those that try settings, in the order in which they were made."""
    return session.scalars(select(Job.id).where(Job.study_id == study_id).order_by(Job.id)).all()
