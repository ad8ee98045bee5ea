"""Hosts and devices as people see them: what runs on each, and what keeps it from taking jobs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.db import Device, Job, Lease, Reservation, User, Worker, database_now
from store.hosts import host_health, reservations
from store.hosts.gpu_memory import DeviceMemory
from store.hosts.room import DeviceRoom
from store.hosts.rooms import booked_bytes


@dataclass(frozen=True, slots=True)
class Held:
    """One slot that is in use; `booked_bytes`: of its GPU's memory; None: all of it, or it is not measured."""

    slot: int
    job_id: int
    job_name: str
    owner: str
    project_id: int | None
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

    `versions`: of its libraries. `packages`: of plugins, in the words of `Job.packages`. `problems`: what keeps it from taking jobs and what is wrong with it, a sentence each.
    `gpus`: those whose memory is measured, where they were asked for.
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
    packages: Sequence[str]
    gpus: Sequence[DeviceView] = ()


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
            w.packages,
        )
        for w, alive, slots, busy, claims in session.execute(statement)
    ]


def with_gpus(
    workers: Iterable[WorkerView], devices: Collection[DeviceView]
) -> Sequence[WorkerView]:
    """With those of the devices that are theirs."""
    measured = [one for one in devices if one.memory is not None]
    return [
        replace(worker, gpus=[one for one in measured if one.host == worker.host])
        for worker in workers
    ]


def _held_by_device(session: Session) -> dict[int, list[Held]]:
    statement = (
        select(Lease, Job.name, User.name, Job.project_id)
        .join(Job, Job.id == Lease.job_id)
        .join(User, User.id == Job.owner_id)
        .order_by(Lease.slot)
    )
    held: dict[int, list[Held]] = {}
    for lease, name, owner, project_id in session.execute(statement):
        one = Held(
            lease.slot,
            lease.job_id,
            name,
            owner,
            project_id,
            lease.attempt,
            lease.expires_at,
            lease.booked_bytes,
        )
        held.setdefault(lease.device_id, []).append(one)
    return held
