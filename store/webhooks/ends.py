"""The outbox of what has ended, and its messages for each webhook that they concern.

A row of the outbox is read before it is asked whether its study has ended, in a statement of its own. A job that ends
after that question has a row of its own, which the next reading finds: no end is missed, however many jobs end at once.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, and_, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from store.access import is_readable
from store.db import Delivery, EndedJob, Job, Study, User, Webhook
from store.studies import count_jobs, status_of, studies
from store.webhooks.deliveries import is_active, new_message_id

#: Rows of the outbox that are read at once.
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Ended:
    """Jobs that have ended: one without a study, or those of a study that ended since it was last looked at."""

    study_id: int | None
    job_id: int
    rows: Sequence[int]


@dataclass(frozen=True, slots=True)
class EndedStudy:
    """A study all of whose jobs have ended, the last of them `at`; `is_judged`: whether its verdicts, if it has claims,
    are those of its jobs as they are."""

    study: Study
    at: datetime
    status: str
    counts: dict[str, int]
    is_judged: bool


@dataclass(frozen=True, slots=True)
class Message:
    """About one study or job; `event` identifies its end. `bodies`: by format."""

    event: str
    bodies: dict[str, str]
    study_id: int | None = None
    job_id: int | None = None


def read_outbox(session: Session) -> list[Ended]:
    """The oldest first."""
    statement = (
        select(EndedJob.id, EndedJob.job_id, Job.study_id)
        .join(Job, Job.id == EndedJob.job_id)
        .order_by(EndedJob.id)
        .limit(AT_ONCE)
    )
    ended: dict[tuple[int | None, int | None], Ended] = {}
    for row_id, job_id, study_id in session.execute(statement):
        key = (study_id, None) if study_id is not None else (None, job_id)
        before = ended.get(key)
        ended[key] = Ended(study_id, job_id, [*(before.rows if before else ()), row_id])
    return list(ended.values())


def find_study(session: Session, study_id: int) -> EndedStudy | None:
    """None if it goes on, or was deleted."""
    study = studies.find(session, study_id)
    if study is None:
        return None
    counts = count_jobs(session, [study_id])[study_id].counts
    if any(counts[name] for name in ("queued", "running", "paused")):
        return None
    times = select(func.max(Job.finished_at), func.max(Job.changed_at))
    finished_at, changed_at = session.execute(times.where(Job.study_id == study_id)).one()
    if finished_at is None:  # Without jobs it has no end.
        return None
    is_judged = not study.spec.get("claims") or (
        study.judged_at is not None and study.judged_at >= changed_at
    )
    return EndedStudy(study, finished_at, status_of(counts), counts, is_judged)


def find_failed(session: Session, job_id: int) -> Job | None:
    """A job of no study, with owner and project; None if it was retried, or deleted."""
    statement = (
        select(Job)
        .options(joinedload(Job.owner), joinedload(Job.project))
        .where(Job.id == job_id, Job.status == "failed")
    )
    return session.scalars(statement).one_or_none()


def add_deliveries(session: Session, subject: Study | Job, message: Message) -> int:
    """For each webhook that it concerns and whose person may read it, once for each event; how many are new."""
    is_own = and_(
        Webhook.study_id.is_(None),
        Webhook.project_id.is_(None),
        Webhook.user_id == subject.owner_id,
    )
    concerns = [is_own]
    # A comparison with None would find those of no project.
    if subject.project_id is not None:
        concerns.append(Webhook.project_id == subject.project_id)
    if message.study_id is not None:
        concerns.append(Webhook.study_id == message.study_id)
    may_read = is_readable(literal(subject.project_id, BigInteger), Webhook.user_id)
    statement = (
        select(Webhook.id, Webhook.format)
        .join(User, User.id == Webhook.user_id)
        .where(or_(*concerns), is_active(), may_read)
        .order_by(Webhook.id)
    )
    rows = [
        {
            "webhook_id": webhook.id,
            "study_id": message.study_id,
            "job_id": message.job_id,
            "message_id": new_message_id(),
            "event": message.event,
            "body": message.bodies[webhook.format],
        }
        for webhook in session.execute(statement)
    ]
    if not rows:
        return 0
    once = ["webhook_id", "event"]
    made = insert(Delivery).values(rows).on_conflict_do_nothing(index_elements=once)
    return len(session.scalars(made.returning(Delivery.id)).all())


def forget(session: Session, rows: Collection[int]) -> None:
    """Removes rows of the outbox that have been dealt with."""
    session.execute(delete(EndedJob).where(EndedJob.id.in_(rows)))
