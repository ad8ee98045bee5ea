"""Acquiring a job: one short transaction gives a host the fairest job and the devices to run it on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import Select, and_, bindparam, false, func, select, tuple_
from sqlalchemy.orm import Session, joinedload

from store.catalog import initial_weights
from store.db import Attempt, Checkpoint, Job, Lease, Result, Study, User, transition
from store.hosts import (
    PATIENCE_SECONDS,
    Kind,
    Need,
    Room,
    Taken,
    find_room,
    find_rooms,
    footprints,
)
from store.jobs import queue, usage
from store.reuse import answers
from trainer.events import CheckpointSaved
from trainer.spec import ASKED_FOR, CHANNELS_LAST, CHANNELS_LAST_WIDTH, InitFrom, Numerics

#: Serialises all acquisitions (and nothing else): the key of an advisory lock.
ACQUIRE_LOCK = 0x6E6C_0001
#: Locked jobs that an acquisition passes over before it gives up: each costs a search of the queue, during which
#: all other acquisitions wait. Whoever changes more at once, a whole study, wakes the hosts afterwards.
MOST_PASSED_OVER = 20


@dataclass(frozen=True, slots=True)
class AssignedDevice:
    """A device by its kind and its number on the host, and the slot held there. `booked_bytes`: how much of its memory
    the job may take; None: all that there is."""

    kind: Kind
    number: int
    slot: int
    booked_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that an executor needs to know; `attempt` is the fencing number of everything it writes.

    `checkpoints`: newest first, their paths relative to the storage. `seconds_used`: by the attempts
    before, since the job was submitted or retried. `started_at`: when the attempt did.
    """

    job_id: int
    kind: str
    attempt: int
    spec: dict[str, Any]
    dataset_id: int
    dataset_name: str
    source: dict[str, Any]
    info: dict[str, Any] | None
    devices: tuple[AssignedDevice, ...]
    numerics: Numerics | None
    checkpoints: tuple[CheckpointSaved, ...]
    seconds_used: float
    timeout_seconds: float
    study_id: int | None
    owner: str
    queued_at: datetime
    started_at: datetime
    trace_context: str | None
    #: What `init_from` names, if it is still there.
    initial: CheckpointSaved | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A job that needed no device now (`store.reuse`): commit, and acquire again."""

    job_id: int


@dataclass(frozen=True, slots=True)
class _Locked:
    """A job that is ours until the commit; how long it may run, the time at which it was locked, whether a job
    that trains the same has succeeded or runs, and what it gets."""

    job: Job
    expected_seconds: float
    now: datetime
    has_equal: bool
    taken: Taken


def acquire(
    session: Session,
    host: str,
    process: int,
    *,
    lease_seconds: float,
    numerics: Callable[[str], Numerics],
    warm: tuple[str, int] | None = None,
    only_warm: bool = False,
    instance: str | None = None,
) -> Assignment | Settled | None:
    """The fairest job that fits what is free on the host, running from now on; None if there is none. If an equal one
    answers it, it doesn't run, and whoever acquires asks again: all others wait for no more than one answer.

    `instance` is the worker's: one that is no longer the host's (another has taken its name) gets nothing.
    `numerics` is asked, with the kind of device, only where they are not yet fixed. `warm` is the
    device (kind, number) that the process has used: taken before others where the job may choose, and with `only_warm`
    none of the others.
    """
    # One acquisition at a time: two side by side would see the same free slots and the same use by each
    # owner, and neither would get the fairest job. The lock ends with this short transaction.
    session.execute(select(func.pg_advisory_xact_lock(ACQUIRE_LOCK)))
    room = find_room(session, host, instance, warm, only_warm)
    locked = _lock_fairest(session, room, host)
    if locked is None:
        return None
    job, taken = locked.job, locked.taken
    fixed = _fix_numerics(session, job, taken.own[0].kind, numerics)
    if fixed and locked.has_equal and answers.settle(session, job, fixed, host):
        return Settled(job.id)
    attempt = Attempt(
        job_id=job.id,
        host=host,
        process=process,
        instance=instance,
        started_at=locked.now,
        expected_seconds=locked.expected_seconds,
        slots=len(taken.held),
    )
    _start(session, job, attempt, taken, lease_seconds)
    return _describe(session, job, taken, fixed, locked.now)


def _lock_fairest(session: Session, room: Room, host: str) -> _Locked | None:
    """The fairest job for which there is room, with its owner, study and dataset as they are now."""
    passed_over: list[int] = []
    while (counts := room.counts()) and len(passed_over) < MOST_PASSED_OVER:
        if (job_id := queue.fairest(session, counts, host, passed_over)) is None:
            return None
        # One that another transaction is changing (a cancel) is passed over: to wait for it would make all
        # acquisitions wait.
        row = session.execute(_unless_locked(), {"id": job_id}).one_or_none()
        if row is not None:
            job, expected_seconds, now, has_equal, bookings = row
            need = Need.of(job, _required_kind(job), bookings)
            if (taken := room.choose(need)) is not None:
                return _Locked(job, expected_seconds, now, has_equal, taken)
            # It needs more than is free, and has waited too long for others to pass it.
            if now - job.queued_at >= timedelta(seconds=PATIENCE_SECONDS):
                room = room.keep_for(need, host, find_rooms(session))
        passed_over.append(job_id)
    return None


@cache
def _unless_locked() -> Select[Job, float, datetime, bool, dict[str, int] | None]:
    return (
        select(
            Job,
            usage.expected_seconds(),
            func.clock_timestamp(),
            answers.has_equal(),
            footprints.bookings(),
        )
        .where(Job.id == bindparam("id"), Job.status == "queued")
        .options(
            joinedload(Job.owner).load_only(User.name),
            joinedload(Job.study).load_only(Study.numerics),
            joinedload(Job.dataset),
        )
        .with_for_update(of=Job, key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )


def _required_kind(job: Job) -> str | None:
    """As `queue.required_kind`, by which the job was found: change both together."""
    if numerics := _fixed_numerics(job):
        return str(numerics["device"])
    return None if job.device == "auto" else job.device


def _fixed_numerics(job: Job) -> dict[str, Any] | None:
    return (job.study.numerics if job.study else None) or job.numerics


def _fix_numerics(
    session: Session, job: Job, kind: str, numerics: Callable[[str], Numerics]
) -> Numerics | None:
    """The numerics decided when the study's first job started (without a study: this job) hold for all attempts."""
    if job.kind == "dataset":
        return None
    fixed = _fixed_numerics(job)
    decided = (
        _decide(session, job, numerics(kind)) if fixed is None else Numerics.model_validate(fixed)
    )
    own = decided.for_job(job.spec or {})
    job.numerics = own.model_dump(mode="json")
    # The first job of a study decides for all of them, because variants that ran on different kinds of devices
    # could not be compared; not what each asks for, in which variants may differ.
    if job.study is not None and job.study.numerics is None:
        job.study.numerics = own.model_dump(mode="json", exclude=set(ASKED_FOR))
    return own


def _decide(session: Session, job: Job, numerics: Numerics) -> Numerics:
    """With the memory format: channels-last where every job of the study may have it."""
    if numerics.device != "cpu":
        return numerics
    # Once in a study's life, by the index of its jobs. `results` has these words in columns of their own, so that no
    # spec is read.
    may = and_(
        tuple_(Result.model_name, Result.norm_kind).in_(sorted(CHANNELS_LAST)),
        Result.model_width >= CHANNELS_LAST_WIDTH,
        Result.weights_kind == "plain",
    )
    whose = Result.job_id == job.id if job.study_id is None else Result.study_id == job.study_id
    may_all = session.scalar(select(func.bool_and(func.coalesce(may, false()))).where(whose))
    return numerics.model_copy(update={"memory_format": "channels_last"}) if may_all else numerics


def _start(
    session: Session,
    job: Job,
    attempt: Attempt,
    taken: Taken,
    lease_seconds: float,
) -> None:
    # The new number is the fence: from the commit on, a write of an earlier attempt raises LostLease.
    job.attempt += 1
    if job.started_at is None:
        job.started_at = attempt.started_at
    attempt.number = job.attempt
    session.add(attempt)
    session.add_all(
        Lease(
            job_id=job.id,
            attempt=job.attempt,
            device_id=slot.device_id,
            slot=slot.slot,
            expires_at=func.clock_timestamp() + timedelta(seconds=lease_seconds),
            booked_bytes=taken.booked_bytes,
        )
        for slot in taken.held
    )
    devices = dict.fromkeys(f"{slot.kind} {slot.number}" for slot in taken.own)
    alone = " alone" if job.exclusive or len(taken.held) > len(taken.own) else ""
    why = f"attempt {job.attempt} on {', '.join(devices)}{alone}"
    transition(session, job, "running", who=worker_name(attempt.host), why=why)


def worker_name(host: str) -> str:
    """The name under which a host's worker appears in transitions."""
    return f"worker {host}"


def _describe(
    session: Session, job: Job, taken: Taken, numerics: Numerics | None, started_at: datetime
) -> Assignment:
    dataset = job.dataset
    return Assignment(
        job_id=job.id,
        kind=job.kind,
        attempt=job.attempt,
        spec=job.spec,
        dataset_id=dataset.id,
        dataset_name=dataset.name,
        source=dataset.source,
        info=dataset.info,
        devices=tuple(
            AssignedDevice(one.kind, one.number, one.slot, taken.booked_bytes) for one in taken.own
        ),
        numerics=numerics,
        checkpoints=_checkpoints(session, job),
        seconds_used=job.seconds_used,
        timeout_seconds=job.timeout_seconds,
        study_id=job.study_id,
        owner=job.owner.name,
        queued_at=job.queued_at,
        started_at=started_at,
        trace_context=job.trace_context,
        initial=_initial(session, job),
    )


def _initial(session: Session, job: Job) -> CheckpointSaved | None:
    document = job.spec.get("init_from")
    return initial_weights.read(session, InitFrom.model_validate(document)) if document else None


def _checkpoints(session: Session, job: Job) -> tuple[CheckpointSaved, ...]:
    # Before its first attempt a job has none.
    if job.attempt == 1:
        return ()
    newest = select(Checkpoint).where(Checkpoint.job_id == job.id).order_by(Checkpoint.id.desc())
    return tuple(_saved(checkpoint) for checkpoint in session.scalars(newest))


def _saved(row: Checkpoint) -> CheckpointSaved:
    kind: Literal["last", "best"] = "best" if row.kind == "best" else "last"
    return CheckpointSaved(kind, row.epoch, row.step, row.path, row.digest, row.bytes)
