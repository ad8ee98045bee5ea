"""Hosts, their devices, and the leases on their slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.db import (
    DATABASE_AWAY,
    Device,
    Job,
    Lease,
    LostLease,
    Reservation,
    Worker,
    database_now,
)
from store.hosts import DeviceMemory, DeviceRoom, booked_bytes, host_health, reservations
from store.jobs.attempts import end_attempt

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """One slot that is in use; `booked_bytes`: of its GPU's memory; None: all of it, or it is not measured."""

    slot: int
    job_id: int
    job_name: str
    attempt: int
    expires_at: datetime
    booked_bytes: int | None


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device and what runs on it; `reserved`: by whom and until when it gets no jobs, in words.

    `memory`: of a GPU on which jobs are packed by what they take of it.
    """

    host: str
    kind: str
    number: int
    name: str
    slots: int
    held: tuple[Held, ...]
    reserved: str | None = None
    memory: DeviceMemory | None = None

    @property
    def room(self) -> DeviceRoom:
        """As an acquisition sees it."""
        taken = {one.slot for one in self.held}
        room = DeviceRoom(
            id=0,
            kind="cpu" if self.kind == "cpu" else "cuda",
            number=self.number,
            slots=self.slots,
            held=len(self.held),
            free=tuple(slot for slot in range(self.slots) if slot not in taken),
            name=self.name,
        )
        return room if self.memory is None else self.memory.put_into(room)


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A host's worker; `alive`: seen lately; `busy` of its `slots` are in use; `claims`: it takes jobs.

    `versions`: of its libraries. `problems`: what keeps it from taking jobs and what is wrong with it, a sentence each.
    """

    host: str
    process: int
    started_at: datetime
    seen_at: datetime
    draining: bool
    alive: bool
    slots: int
    busy: int
    claims: bool
    shortage: dict[str, Any] | None
    held_until: datetime | None
    clock_ahead_seconds: float | None
    versions: Mapping[str, str]
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class Instance:
    """One start of a worker's parent process, with a unique `id`.

    `machine` is what people call it; `namespace` says in which `process` is a process id: two workers with
    equal ones can look for each other's processes.
    """

    id: str
    process: int
    machine: str
    namespace: str


def register_worker(
    session: Session,
    host: str,
    process: int,
    devices: Sequence[tuple[str, int, str, int]],
    instance: Instance | None = None,
    offers: Sequence[Mapping[str, Any]] = (),
    memory: Mapping[int, int] | None = None,
) -> None:
    """The host's worker starts, with devices of (kind, number, name, slots); it isn't draining.

    `offers`: for each kind of device numerics and environment, as `store.reuse.Offer` reads them. `memory`: of GPUs where it is measured, in bytes, by their numbers: nothing starts on them before `gpu_memory.report`. From now on only this instance acquires jobs for the host.
    """
    now = func.clock_timestamp()
    start = {
        "process": process,
        "started_at": now,
        "seen_at": now,
        "draining": False,
        "instance": instance and instance.id,
        "machine": instance and instance.machine,
        "namespace": instance and instance.namespace,
        "address": func.host(func.inet_client_addr()),
        "ended_at": None,
        "offers": list(offers),
    }
    session.execute(
        # The host's name is the key: a new instance takes over the row, and with it the name, in one
        # statement. From the commit on whatever an older instance updates matches no row (`_update_worker`).
        insert(Worker)
        .values(host=host, **start)
        .on_conflict_do_update(index_elements=[Worker.host], set_=start)
    )
    # A device that is gone may still be held by an attempt that has not been ended yet.
    session.execute(update(Device).where(Device.host == host).values(slots=0))
    for kind, number, name, slots in devices:
        measured = (memory or {}).get(number) if kind == "cuda" else None
        state = {"name": name, "slots": slots, "memory_bytes": measured, "foreign_bytes": None}
        session.execute(
            insert(Device)
            .values(host=host, kind=kind, number=number, **state)
            .on_conflict_do_update(
                index_elements=[Device.host, Device.kind, Device.number], set_=state
            )
        )
    session.execute(
        delete(Device).where(
            Device.host == host,
            Device.slots == 0,
            ~select(Lease.id).where(Lease.device_id == Device.id).exists(),
        )
    )


def worker_ended(session: Session, host: str, instance: str | None = None) -> None:
    """The host's worker has ended, and all of its processes; its name is free."""
    session.execute(
        _update_worker(host, instance).values(ended_at=func.clock_timestamp(), draining=True)
    )


def set_draining(
    session: Session, host: str, draining: bool = True, instance: str | None = None
) -> None:
    """A draining host gets no more jobs; nothing changes where another instance is the host's worker now."""
    session.execute(_update_worker(host, instance).values(draining=draining))


def expired(session: Session, grace_seconds: float = 0.0) -> Sequence[Lease]:
    """Leases that ran out more than `grace_seconds` ago and were not yet swept."""
    return session.scalars(
        select(Lease).where(_ran_out(grace_seconds)).order_by(Lease.expires_at)
    ).all()


def release_expired(
    session: Session, grace_seconds: float = 0.0, *, counts: bool = True, who: str = "sweep"
) -> list[int]:
    """End as lost the attempts whose lease ran out: their jobs queue again, or fail when used up.

    `counts=False` after an outage of the database, which kept workers from renewing. Returns the jobs.
    """
    # A job on several devices has several leases, but its attempt ends once. Always in the order of the jobs'
    # ids: two transactions that lock several jobs in different orders would wait for each other.
    held = {(lease.job_id, lease.attempt) for lease in expired(session, grace_seconds)}
    if not held:
        return []
    # All of them before the first ends: an end writes its owner's use, and whoever else ends an attempt of that
    # person has its job's lock by then.
    jobs = select(Job.id).where(Job.id.in_([job_id for job_id, _ in held])).order_by(Job.id)
    session.execute(jobs.with_for_update(key_share=True))
    released = []
    for job_id, attempt in sorted(held):
        try:
            # A savepoint for each: an error undoes what was written for this job only, and leaves the
            # transaction usable for the others.
            with session.begin_nested():
                if _release(session, job_id, attempt, grace_seconds, counts=counts, who=who):
                    released.append(job_id)
        except DATABASE_AWAY:
            # The connection is gone, and the savepoints with it: nothing is left to go on with.
            raise
        except Exception:  # One job that can't be returned must not keep the others.
            log.exception("a job whose lease ran out is not returned", job=job_id, attempt=attempt)
    return released


def free_slots(session: Session) -> dict[str, dict[str, int]]:
    """Free slots by host and kind, of hosts seen lately that may acquire jobs."""
    # After a restart with fewer slots, attempts may still hold slots of higher numbers, which take none of
    # those that there are now.
    busy = select(func.count()).where(Lease.device_id == Device.id, Lease.slot < Device.slots)
    free = func.sum(Device.slots - busy.scalar_subquery())
    statement = (
        select(Device.host, Device.kind, free)
        .join(Worker, Worker.host == Device.host)
        .where(host_health.is_worth_waking(), host_health.seen_lately(), reservations.is_open())
        .group_by(Device.host, Device.kind)
        .order_by(Device.host, Device.kind)
    )
    slots: dict[str, dict[str, int]] = {}
    for host, kind, count in session.execute(statement):
        slots.setdefault(host, {})[kind] = int(count)
    return slots


def devices_view(session: Session) -> list[DeviceView]:
    """All devices, by host, kind and number."""
    held = _held_by_device(session)
    statement = reservations.with_reservations(select(Device)).where(Device.slots > 0)
    # Of two reservations that of the device itself is named.
    ordered = statement.add_columns(booked_bytes()).order_by(
        Device.host, Device.kind, Device.number, Reservation.kind.is_not(None)
    )
    views = {
        device.id: DeviceView(
            device.host,
            device.kind,
            device.number,
            device.name,
            device.slots,
            tuple(held.get(device.id, ())),
            reservations.describe(reservation) if reservation else None,
            DeviceMemory.of(device, int(booked)),
        )
        for device, reservation, booked in session.execute(ordered)
    }
    return list(views.values())


def workers_view(session: Session, now: datetime | None = None) -> list[WorkerView]:
    """All workers, by host; `now` spares whoever has asked the database for its time to ask again."""
    slots = select(func.coalesce(func.sum(Device.slots), 0)).where(Device.host == Worker.host)
    busy = select(func.count()).select_from(Lease).join(Device).where(Device.host == Worker.host)
    now = now or database_now(session)
    statement = select(
        Worker,
        host_health.seen_lately(),
        slots.scalar_subquery(),
        busy.scalar_subquery(),
        host_health.seen_lately() & host_health.is_worth_waking(),
    ).order_by(Worker.host)
    return [
        WorkerView(
            w.host,
            w.process,
            w.started_at,
            w.seen_at,
            w.draining,
            alive,
            int(slots),
            busy,
            claims,
            w.shortage,
            w.held_until,
            w.clock_ahead_seconds,
            host_health.versions(w),
            host_health.problems(w, now),
        )
        for w, alive, slots, busy, claims in session.execute(statement)
    ]


def _update_worker(host: str, instance: str | None) -> Update:
    # Not `=`: the instance is NULL where none was given, and NULL = NULL is not true.
    same = Worker.instance.is_not_distinct_from(instance)
    return update(Worker).where(Worker.host == host, same)


def is_any_alive(session: Session, namespace: str) -> bool:
    """Whether a worker in this namespace of process ids was seen lately."""
    query = select(Worker.host).where(Worker.namespace == namespace, host_health.seen_lately())
    return session.scalars(query.limit(1)).first() is not None


def _release(
    session: Session, job_id: int, attempt: int, grace_seconds: float, *, counts: bool, who: str
) -> bool:
    # The job is locked before its lease is looked at again: a renewal may have come in between.
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update(key_share=True))
    leases = select(Lease.id).where(Lease.job_id == job_id, Lease.attempt == attempt)
    if session.scalars(leases.where(_ran_out(grace_seconds)).limit(1)).first() is None:
        return False
    try:
        error = "the worker did not renew its lease"
        end_attempt(session, job_id, attempt, "lost", error=error, counts=counts, who=who)
    except LostLease:
        # The attempt has ended long ago, and only its lease was left.
        session.execute(delete(Lease).where(Lease.job_id == job_id, Lease.attempt == attempt))
        return False
    return True


def _ran_out(grace_seconds: float) -> ColumnElement[bool]:
    return Lease.expires_at < func.clock_timestamp() - timedelta(seconds=grace_seconds)


def _held_by_device(session: Session) -> dict[int, list[Held]]:
    statement = select(Lease, Job.name).join(Job, Job.id == Lease.job_id).order_by(Lease.slot)
    held: dict[int, list[Held]] = {}
    for lease, name in session.execute(statement):
        one = Held(
            lease.slot, lease.job_id, name, lease.attempt, lease.expires_at, lease.booked_bytes
        )
        held.setdefault(lease.device_id, []).append(one)
    return held
