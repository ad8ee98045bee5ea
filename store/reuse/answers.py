"""Answers: the rows of an equal job are copied, so that whatever reads results needs to know nothing of this.

Its files are not copied: a file is needed while any row names it. A job is answered when it is submitted, when its
turn comes, or when the equal one ends. While an equal one runs it waits (`Job.waits_for`), and is claimed only if
that one ends without success. One that has started is never answered: it has records of its own, and goes on from
its checkpoint.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import structlog
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session, aliased, joinedload

from store.access import is_readable
from store.db import (
    DATABASE_AWAY,
    Attempt,
    Checkpoint,
    Diagnosis,
    Epoch,
    File,
    Job,
    LogLine,
    Overtaken,
    Study,
    Worker,
    transition,
)
from store.hosts import host_health
from store.reuse.equal import Offer, Source, may_be_channels_last, the_one_environment
from trainer.spec import Numerics

log = structlog.get_logger(__name__)

#: Of equal jobs only so many are looked at, the newest: repetitions that were asked for may be thousands.
_MOST = 20
#: What of a job is its result; a copy has the same.
RESULT = (
    "reason", "numerics", "facts", "warnings", "metrics", "non_finite", "step", "total_steps",
    "seconds_used",
)  # fmt: skip
#: For the job's history; PostgreSQL's `format` reads it, too.
ANSWERED = "answered by job %s, which trained the same"
#: What a training has recorded, and the order in which it did.
_RECORDS: Mapping[Any, Any] = {
    Epoch: Epoch.epoch,
    Diagnosis: Diagnosis.id,
    Checkpoint: Checkpoint.id,
    File: File.id,
}


#: A job that is to be answered: whose it is, and its hash.
Wanted: TypeAlias = tuple[int, str]


def find_sources(
    session: Session, wanted_jobs: Collection[Wanted]
) -> Mapping[Wanted, Sequence[Source]]:
    """The newest equal jobs that have succeeded, of all that the owner may read."""
    pairs = sorted({(owner_id, hash_) for owner_id, hash_ in wanted_jobs if hash_})
    asked = func.unnest(
        cast([owner_id for owner_id, _ in pairs], ARRAY(BigInteger)),
        cast([hash_ for _, hash_ in pairs], ARRAY(Text)),
    )
    wanted = asked.table_valued("owner_id", "hash", name="wanted").render_derived()
    newest = (
        select(Job.id, Job.numerics)
        .where(Job.hash == wanted.c.hash, *_can_answer(Job, wanted.c.owner_id))
        .order_by(Job.id.desc())
        .limit(_MOST)
        .lateral("newest")
    )
    environments = (
        select(func.jsonb_agg(Attempt.environment))
        .where(Attempt.job_id == newest.c.id, Attempt.environment.is_not(None))
        .scalar_subquery()
    )
    statement = select(
        wanted.c.owner_id, wanted.c.hash, newest.c.id, newest.c.numerics, environments
    )
    sources: dict[Wanted, list[Source]] = defaultdict(list)
    rows = session.execute(statement.join(newest, true()))
    for owner_id, hash_, job_id, numerics, found in rows:
        source = Source(job_id, numerics or {}, the_one_environment(found or ()))
        sources[owner_id, hash_].append(source)
    return sources


def read_offers(session: Session, host: str | None = None) -> Sequence[Offer]:
    """Of the host, or of all workers that get jobs."""
    condition = (
        host_health.seen_lately() & host_health.may_acquire()
        if host is None
        else Worker.host == host
    )
    rows = session.scalars(select(Worker.offers).where(condition))
    return [Offer.read(one) for offers in rows for one in offers]


def settle(session: Session, job: Job, own: Numerics, host: str) -> bool:
    """Whether a job whose turn has come is not to be claimed now: it is answered, or an equal one runs, for which it
    waits. One that can't be answered is trained in its next turn.

    The job is locked, and `has_equal` is true of it.
    """
    wanted = job.owner_id, job.hash
    sources = find_sources(session, [wanted]).get(wanted, ())
    offers = read_offers(session, host) if sources else ()
    if source := next((one for one in sources if one.would_result(offers, own)), None):
        _try_to_answer(session, job, source.job_id)
        return True
    asked = {"hash": job.hash, "owner_id": job.owner_id}
    running = session.execute(_running_equals(), asked).all()
    equal = next((row.id for row in running if row.numerics == own.model_dump(mode="json")), None)
    if equal is None:
        return False
    job.waits_for = equal
    # It hasn't started: once it is on its own again it may have other devices.
    job.numerics = None
    session.flush()
    return True


def answer_equals(session: Session, source: Job) -> None:
    """Answer the queued jobs that are equal to this one, which has just succeeded.

    One that another transaction is changing, and one whose study hasn't decided on its numerics, are left to `settle`.
    An error with one of them fails neither this job nor the others.
    """
    asked = {"hash": source.hash, "source": source.id, "project_id": source.project_id}
    equals = session.scalars(_queued_equals(), asked).all()
    if not equals:
        return
    wanted = source.owner_id, source.hash
    sources = find_sources(session, [wanted]).get(wanted, ())
    if not any(one.job_id == source.id and one.environment is not None for one in sources):
        return
    for job in equals:
        decided = _decided(job, source)
        if decided and decided.for_job(job.spec).model_dump(mode="json") == source.numerics:
            _try_to_answer(session, job, source.id)


def _try_to_answer(session: Session, job: Job, source_id: int) -> None:
    """Answer the locked job, or else let it train: it would stay the first in line, and every claim would fail at it."""
    job_id = job.id
    try:
        with session.begin_nested():
            answer(session, job, source_id)
    except DATABASE_AWAY:
        # The connection is gone, and the savepoint with it: nothing is left to go on with.
        raise
    except Exception:
        log.exception("a job is not answered, but trained", job=job_id, source=source_id)
        job.may_reuse = False
        session.flush()


def answer(session: Session, job: Job, source_id: int) -> None:
    """The locked job succeeds with the other one's results."""
    if not keep_sources(session, [source_id]):
        raise Overtaken
    source = session.get_one(Job, source_id)
    for name in RESULT:
        setattr(job, name, getattr(source, name))
    job.reused_from = source_id
    why = ANSWERED % source_id
    transition(session, job, "succeeded", who="system", why=why, reason=source.reason)
    copy_records(session, [job.id])


def keep_sources(session: Session, job_ids: Collection[int]) -> bool:
    """Whether all of these jobs are there; none of them can be deleted before this transaction ends. One that is being
    deleted counts as gone: to wait for the end of that would hold up every acquisition."""
    query = select(Job.id).where(Job.id.in_(job_ids)).order_by(Job.id)
    locked = query.with_for_update(read=True, key_share=True, skip_locked=True)
    found = session.scalars(locked).all()
    return len(found) == len({*job_ids})


def copy_records(session: Session, job_ids: Sequence[int]) -> None:
    """The records of jobs that were just answered, from those that answer them."""
    for table, order in _RECORDS.items():
        names = [one.name for one in table.__table__.columns if one.name not in ("id", "job_id")]
        rows = (
            select(Job.id, *(getattr(table, name) for name in names))
            .join(table, table.job_id == Job.reused_from)
            .where(Job.id.in_(job_ids))
            .order_by(Job.id, order)
        )
        session.execute(insert(table).from_select(["job_id", *names], rows))
    said = func.concat(
        "answered by job ", Job.reused_from, ": its log has the lines of the training"
    )
    lines = (
        select(Job.id, literal(0), literal("info", Text), said)
        .where(Job.id.in_(job_ids))
        .order_by(Job.id)
    )
    session.execute(insert(LogLine).from_select(["job_id", "attempt", "level", "text"], lines))


def release_waiting(session: Session) -> None:
    """Jobs whose equal one no longer runs are claimable; of most, its own end has said so already."""
    equal = aliased(Job)
    is_running = select(equal.id).where(equal.id == Job.waits_for, equal.status == "running")
    waiting = select(Job.id).where(Job.waits_for.is_not(None), ~is_running.exists())
    chosen = waiting.with_for_update(skip_locked=True, key_share=True)
    session.execute(update(Job).where(Job.id.in_(chosen)).values(waits_for=None))


def has_equal() -> ColumnElement[bool]:
    """Of the job of the statement: whether it may be answered, and there is one that does, now or at its end."""
    equal = aliased(Job)
    found = select(equal.id).where(equal.hash == Job.hash, equal.hash != "")
    is_running = equal.status == literal_column("'running'")
    may = is_readable(equal.project_id, Job.owner_id)
    ended = found.where(*_can_answer(equal, Job.owner_id)).correlate(Job).exists()
    runs = found.where(is_running, _is_whole(equal), may).correlate(Job).exists()
    return _may_be_answered() & (ended | runs)


def _may_be_answered() -> ColumnElement[bool]:
    # A trial of a tuning is always trained: the choice is made by the transaction in which the last one ends. A job
    # that has started has records, beside which those of another would not be unique.
    return Job.may_reuse & Job.trial.is_(None) & (Job.attempt == 0)


def _can_answer(job: Any, owner_id: Any) -> Sequence[ColumnElement[bool]]:
    """Whether this job can answer one of this owner."""
    # An answered job has an original, which answers all others: no chain of copies.
    has_succeeded = job.status == literal_column("'succeeded'")
    may = is_readable(job.project_id, owner_id)
    return has_succeeded, job.reused_from.is_(None), _is_whole(job), may


def _is_whole(job: Any) -> ColumnElement[bool]:
    """Trials answer nobody: a search may have stopped them early."""
    is_whole: ColumnElement[bool] = job.trial.is_(None)
    return is_whole


def _decided(job: Job, source: Job) -> Numerics | None:
    """The numerics of a queued job, if nothing but `source` need be asked."""
    if fixed := (job.study.numerics if job.study else None) or job.numerics:
        return Numerics.model_validate(fixed)
    if job.study is not None or source.numerics is None:
        return None
    own = Numerics.model_validate(source.numerics)
    formats = "channels_last" if may_be_channels_last(job.spec) else "contiguous"
    fits = job.device in ("auto", own.device)
    return own if fits and (own.device != "cpu" or own.memory_format == formats) else None


@cache
def _running_equals() -> Select[int, dict[str, Any] | None]:
    is_running = Job.status == literal_column("'running'")
    return (
        select(Job.id, Job.numerics)
        .where(
            Job.hash == bindparam("hash"),
            is_running,
            _is_whole(Job),
            is_readable(Job.project_id, bindparam("owner_id", type_=BigInteger)),
        )
        .order_by(Job.id)
        .limit(_MOST)
    )


@cache
def _queued_equals() -> Select[Job]:
    return (
        select(Job)
        .where(
            Job.hash == bindparam("hash"),
            Job.hash != "",
            Job.status == literal_column("'queued'"),
            _may_be_answered(),
            Job.id != bindparam("source"),
            is_readable(bindparam("project_id", type_=BigInteger), Job.owner_id),
        )
        .options(joinedload(Job.study).load_only(Study.numerics))
        .order_by(Job.id)
        # Nobody waits here for another job's lock: whoever holds that one may wait for this one's.
        .with_for_update(of=Job, key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )
