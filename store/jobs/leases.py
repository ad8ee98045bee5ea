"""Hosts, their devices, and the leases on their slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
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
    Worker,
)
from store.hosts import host_health, reservations
from store.jobs.attempts import end_attempt

log = structlog.get_logger(__name__)


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
    packages: Sequence[str] = (),
) -> None:
    """The host's worker starts, with devices of (kind, number, name, slots); it isn't draining.

    `offers`: for each kind of device numerics and environment, as `store.reuse.Offer` reads them. `memory`: of GPUs where it is measured, in bytes, by their numbers: nothing starts on them before `gpu_memory.report`. `packages`: of plugins, which it gets jobs for. From now on only this instance acquires jobs for the host.
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
        "packages": list(packages),
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

    `counts=False` after an outage of the database, which kept workers from renewing. Returns the jobs, without those
    whose rows are locked now: a process that hangs in a transaction keeps no other job from being released.
    """
    # A job on several devices has several leases, but its attempt ends once. Always in the order of the jobs'
    # ids: two transactions that lock several jobs in different orders would wait for each other.
    held = {(lease.job_id, lease.attempt) for lease in expired(session, grace_seconds)}
    if not held:
        return []
    # All of them before the first ends: an end writes its owner's use, and whoever else ends an attempt of that
    # person has its job's lock by then.
    jobs = select(Job.id).where(Job.id.in_([job_id for job_id, _ in held])).order_by(Job.id)
    locked = set(session.scalars(jobs.with_for_update(key_share=True, skip_locked=True)))
    released = []
    for job_id, attempt in sorted(one for one in held if one[0] in locked):
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
