"""When waiting jobs were expected to start, as it was said soon after they were queued, and how wrong that was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Float, cast, delete, extract, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.db import IN_LINE, Job, StartEstimate

#: The error is that of the last jobs that have started.
RECENT = 50
#: Whose estimates are looked at to find them.
_LATEST = 2000


@dataclass(frozen=True, slots=True)
class StartError:
    """Of the last `count` jobs that started: the median of what the estimate was off, and of how long they waited."""

    count: int
    median_seconds: float
    median_wait_seconds: float


def missing(session: Session) -> Sequence[int]:
    """The queued jobs that have never started, and of which no estimate was made."""
    made = select(StartEstimate.job_id).where(StartEstimate.job_id == Job.id)
    new = select(Job.id).where(IN_LINE, Job.started_at.is_(None), ~made.exists())
    return session.scalars(new).all()


def record(session: Session, at: datetime, starts: Mapping[int, float | None]) -> None:
    """In how many seconds from then each job may start (None: nothing tells); the first estimate of a job stays."""
    rows = [
        {
            "job_id": job_id,
            "made_at": at,
            "expected_at": None if seconds is None else at + timedelta(seconds=seconds),
        }
        for job_id, seconds in sorted(starts.items())
    ]
    if rows:
        # Row by row: values of one statement would be more parameters than PostgreSQL takes, from 21,846 rows on.
        session.execute(insert(StartEstimate).on_conflict_do_nothing(), rows)


def expected_at(session: Session, job_id: int) -> datetime | None:
    row = session.get(StartEstimate, job_id)
    return row.expected_at if row else None


def read_error(session: Session) -> StartError | None:
    """None until a job has started whose start was foreseen."""
    latest = select(StartEstimate).order_by(StartEstimate.job_id.desc()).limit(_LATEST).subquery()
    off = func.abs(cast(extract("epoch", Job.started_at - latest.c.expected_at), Float))
    waited = cast(extract("epoch", Job.started_at - latest.c.made_at), Float)
    started = (
        select(off.label("off"), waited.label("waited"))
        .join(latest, latest.c.job_id == Job.id)
        .where(latest.c.expected_at.is_not(None), Job.started_at >= latest.c.made_at)
        .order_by(Job.started_at.desc())
        .limit(RECENT)
        .subquery()
    )
    medians = (
        func.percentile_cont(0.5).within_group(started.c[name]) for name in ("off", "waited")
    )
    count, median, wait = session.execute(select(func.count(), *medians).select_from(started)).one()
    return StartError(count, median, wait) if count else None


def forget(session: Session, older_than: timedelta) -> None:
    """Of jobs that have started or ended; those of waiting ones stay, however old."""
    done = select(Job.id).where(Job.status == literal_column("'queued'"))
    before = func.clock_timestamp() - older_than
    session.execute(
        delete(StartEstimate).where(
            StartEstimate.made_at < before, StartEstimate.job_id.not_in(done)
        )
    )
