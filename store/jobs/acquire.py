"""Acquiring a job: one short transaction gives a host the fairest job and the devices to run it on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import Select, Text, and_, bindparam, false, func, select, true, tuple_
from sqlalchemy.orm import Session, joinedload

from store.db import (
    Attempt,
    Checkpoint,
    Device,
    Job,
    Lease,
    Result,
    Study,
    User,
    Worker,
    transition,
)
from store.hosts import host_health
from store.jobs import queue, usage
from store.reuse import answers
from trainer.events import CheckpointSaved
from trainer.spec import ASKED_FOR, CHANNELS_LAST, Numerics

#: Serialises all acquisitions (and nothing else): the key of an advisory lock.
ACQUIRE_LOCK = 0x6E6C_0001
#: Locked jobs that an acquisition passes over before it gives up: each costs a search of the queue, during which
#: all other acquisitions wait. Whoever changes more at once, a whole study, wakes the hosts afterwards.
MOST_PASSED_OVER = 20

Kind = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class AssignedDevice:
    """A device by its kind and its number on the host, and the slot held there."""

    kind: Kind
    number: int
    slot: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that an executor needs to know; `attempt` is the fencing number of everything it writes.

    `checkpoints`: newest first, their paths relative to the storage. `seconds_used`: by the attempts
    before, since the job was submitted or retried.
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


@dataclass(frozen=True, slots=True)
class _Locked:
    """A job that is ours until the commit; how long it may run, the time at which it was locked, and whether a job
    that trains the same has succeeded or runs."""

    job: Job
    expected_seconds: float
    now: datetime
    has_equal: bool


@dataclass(frozen=True, slots=True)
class _FreeDevice:
    id: int
    kind: Kind
    number: int
    slot: int


def acquire(
    session: Session,
    host: str,
    process: int,
    *,
    lease_seconds: float,
    numerics: Callable[[str], Numerics],
    warm: tuple[str, int] | None = None,
    instance: str | None = None,
) -> Assignment | None:
    """The fairest job that fits what is free on the host, running from now on; None if there is none.

    `instance` is the worker's: one that is no longer the host's (another has taken its name) gets nothing.
    `numerics` is asked, with the kind of device, only where they are not yet fixed. `warm` is the
    device (kind, number) that the process has used: taken before others where the job may choose.
    """
    # One acquisition at a time: two side by side would see the same free slots and the same use by each
    # owner, and neither would get the fairest job. The lock ends with this short transaction.
    session.execute(select(func.pg_advisory_xact_lock(ACQUIRE_LOCK)))
    devices = _free_devices(session, host, instance, warm)
    if not devices:
        return None
    for _ in range(MOST_PASSED_OVER):
        locked = _lock_fairest(session, _count_by_kind(devices), host)
        if locked is None:
            return None
        job = locked.job
        chosen = _choose(devices, job)
        fixed = _fix_numerics(session, job, chosen[0].kind, numerics)
        if not (fixed and locked.has_equal and answers.settle(session, job, fixed, host)):
            break
    else:
        return None
    attempt = Attempt(
        job_id=job.id,
        host=host,
        process=process,
        instance=instance,
        started_at=locked.now,
        expected_seconds=locked.expected_seconds,
    )
    _start(session, job, attempt, chosen, lease_seconds)
    return _describe(session, job, chosen, fixed)


def _lock_fairest(session: Session, free: Mapping[str, int], host: str) -> _Locked | None:
    """The fairest job, with its owner, study and dataset as they are now."""
    passed_over: list[int] = []
    while len(passed_over) < MOST_PASSED_OVER:
        if (job_id := queue.fairest(session, free, host, passed_over)) is None:
            return None
        # One that another transaction is changing (a cancel) is passed over: to wait for it would make all
        # acquisitions wait.
        if (row := session.execute(_unless_locked(), {"id": job_id}).one_or_none()) is not None:
            return _Locked(*row)
        passed_over.append(job_id)
    return None


@cache
def _unless_locked() -> Select[Job, float, datetime, bool]:
    return (
        select(Job, usage.expected_seconds(), func.clock_timestamp(), answers.has_equal())
        .where(Job.id == bindparam("id"), Job.status == "queued")
        .options(
            joinedload(Job.owner).load_only(User.name),
            joinedload(Job.study).load_only(Study.numerics),
            joinedload(Job.dataset),
        )
        .with_for_update(of=Job, key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )


def _free_devices(
    session: Session, host: str, instance: str | None, warm: tuple[str, int] | None
) -> Sequence[_FreeDevice]:
    """One free slot of every device that has any: the warm device first, then GPUs, the idlest first.

    A lease that ran out still holds its slot until the sweep has ended its attempt.
    """
    rows = session.execute(_free_slots(), {"host": host, "instance": instance})
    devices = [_FreeDevice(*row) for row in rows]
    # False sorts before True and the sort is stable: the warm device moves to the front, the rest stays in
    # SQL's order. On the warm device the process has its CUDA context and its memory pool already.
    return sorted(devices, key=lambda device: (device.kind, device.number) != warm)


@cache
def _free_slots() -> Select[int, str, int, Any]:
    # A device has no rows for its slots, only their number, so they are enumerated here and joined with the
    # leases: what finds no lease is free. A device that is gone has 0 slots, and the series up to -1 is
    # empty.
    slot = func.generate_series(0, Device.slots - 1).table_valued("slot").render_derived()
    first_free = func.min(slot.c.slot)
    free_count = func.count()
    return (
        select(Device.id, Device.kind, Device.number, first_free)
        .join(Worker, Worker.host == Device.host)
        .join(slot, true())
        .outerjoin(Lease, (Lease.device_id == Device.id) & (Lease.slot == slot.c.slot))
        .where(
            Device.host == bindparam("host"),
            Worker.instance.is_not_distinct_from(bindparam("instance", type_=Text)),
            host_health.may_acquire(),
            Lease.id.is_(None),
        )
        .group_by(Device.id)
        .order_by(Device.kind.desc(), free_count.desc(), Device.number)
    )


def _count_by_kind(devices: Sequence[_FreeDevice]) -> Mapping[str, int]:
    kinds = [device.kind for device in devices]
    return {kind: kinds.count(kind) for kind in kinds}


def _choose(devices: Sequence[_FreeDevice], job: Job) -> Sequence[_FreeDevice]:
    """As many as the job needs, all of one kind: the required one, else the first with enough."""
    numerics = _fixed_numerics(job)
    required = numerics["device"] if numerics else None if job.device == "auto" else job.device
    by_kind: dict[str, list[_FreeDevice]] = {}
    for device in devices:
        by_kind.setdefault(device.kind, []).append(device)
    kinds = [required] if required else list(by_kind)
    # Never empty: `queue.fairest` chose the job by the same rule (`required_kind`, and as many free devices
    # of one kind), and nobody else has taken a slot since, because of the lock. Change both together.
    enough = (by_kind[kind] for kind in kinds if len(by_kind.get(kind, ())) >= job.devices)
    return next(enough)[: job.devices]


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
        Result.weights_kind == "plain",
    )
    whose = Result.job_id == job.id if job.study_id is None else Result.study_id == job.study_id
    may_all = session.scalar(select(func.bool_and(func.coalesce(may, false()))).where(whose))
    return numerics.model_copy(update={"memory_format": "channels_last"}) if may_all else numerics


def _start(
    session: Session,
    job: Job,
    attempt: Attempt,
    devices: Sequence[_FreeDevice],
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
            device_id=device.id,
            slot=device.slot,
            expires_at=func.clock_timestamp() + timedelta(seconds=lease_seconds),
        )
        for device in devices
    )
    why = f"attempt {job.attempt} on {', '.join(f'{d.kind} {d.number}' for d in devices)}"
    transition(session, job, "running", who=worker_name(attempt.host), why=why)


def worker_name(host: str) -> str:
    """The name under which a host's worker appears in transitions."""
    return f"worker {host}"


def _describe(
    session: Session, job: Job, devices: Sequence[_FreeDevice], numerics: Numerics | None
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
        devices=tuple(AssignedDevice(d.kind, d.number, d.slot) for d in devices),
        numerics=numerics,
        checkpoints=_checkpoints(session, job),
        seconds_used=job.seconds_used,
        timeout_seconds=job.timeout_seconds,
        study_id=job.study_id,
        owner=job.owner.name,
    )


def _checkpoints(session: Session, job: Job) -> tuple[CheckpointSaved, ...]:
    # Before its first attempt a job has none.
    if job.attempt == 1:
        return ()
    newest = select(Checkpoint).where(Checkpoint.job_id == job.id).order_by(Checkpoint.id.desc())
    return tuple(_saved(checkpoint) for checkpoint in session.scalars(newest))


def _saved(row: Checkpoint) -> CheckpointSaved:
    kind: Literal["last", "best"] = "best" if row.kind == "best" else "last"
    return CheckpointSaved(kind, row.epoch, row.step, row.path, row.digest, row.bytes)
