"""Preemption: a waiting job of a strictly higher class takes the slot of a running one, which goes on later.

The running job saves a checkpoint and is queued again, as if it had not run: with the time that it had waited before.
It gives way only if its class is lower even when raised by that waiting. So the one that took its slot stays ahead of
it, and the two never take it from each other in turns.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.db import PRIORITIES, Attempt, Device, Job, Lease, lock, mark_changed
from store.hosts import DeviceRoom, Need, Room, find_rooms
from store.jobs import order, queue

#: Waiting jobs that are looked at in one round; those behind them come later.
MOST_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Claimant:
    """A waiting job."""

    job_id: int
    level: int
    need: Need


@dataclass(frozen=True, slots=True)
class Slot:
    host: str
    device_id: int
    number: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A running job that may give way; `level`: its class, raised by the time that it waited."""

    job_id: int
    attempt: int
    level: int
    started_at: datetime
    slots: Sequence[Slot]


def preempt(session: Session, protected_seconds: float) -> list[int]:
    """Ask running jobs to give way to those waiting of a higher class; returns the ids of the asked.

    Who hasn't run for `protected_seconds` is left alone: loading its data would have been for nothing."""
    slots = _read_slots(session)
    holders = _read_holders(session, slots, protected_seconds)
    highest = queue.highest_class(session)
    if highest is None or all(one.level >= highest for one in holders):
        return []
    claimants = [
        Claimant(one.job.id, one.job.priority, Need.of(one.job, one.kind))
        for one in queue.waiting(session, MOST_LOOKED_AT)
        if one.runnable and one.reached is None
    ]
    asked = []
    # In the order of their ids, as everybody locks several jobs.
    chosen = choose(claimants, holders, _read_rooms(session, slots))
    for holder, claimant in sorted(chosen, key=lambda pair: pair[0].job_id):
        job = lock(session, holder.job_id)
        # It may have ended meanwhile, or been asked for something by a person.
        if (job.status, job.attempt, job.requested_action) == ("running", holder.attempt, None):
            job.requested_action = "preempt"
            job.requested_by = f"job {claimant.job_id} ({PRIORITIES[claimant.level]})"
            mark_changed(session, job)
            asked.append(job.id)
    return asked


def choose(
    claimants: Iterable[Claimant], holders: Sequence[Holder], rooms: dict[str, Room]
) -> list[tuple[Holder, Claimant]]:
    """Who gives way to whom; `claimants` in the order of the queue, `rooms` by host.

    Of those that may, the lowest class goes first, and of one class the newest, which loses least. What stands first in
    the queue for a kind of device and can neither start nor preempt holds back those behind it: they would preempt for it.
    """
    rooms = dict(rooms)
    left = sorted(holders, key=lambda one: (one.level, -one.started_at.timestamp()))
    chosen: list[tuple[Holder, Claimant]] = []
    held_back: set[str] = set()
    for claimant in claimants:
        kinds = {one.kind for room in rooms.values() for one in room.devices} - held_back
        needs = [
            replace(claimant.need, kind=kind)
            for kind in sorted(kinds)
            if claimant.need.kind in (None, kind)
        ]
        if not needs or _take(rooms, needs):
            continue
        victims = _find_victims(rooms, needs, [one for one in left if one.level < claimant.level])
        if not victims:
            held_back.update(need.kind for need in needs if need.kind is not None)
            continue
        for victim in victims:
            left.remove(victim)
            chosen.append((victim, claimant))
        rooms |= {host: _release(room, host, victims) for host, room in rooms.items()}
        _take(rooms, needs)
    return chosen


def _take(rooms: dict[str, Room], needs: Sequence[Need]) -> bool:
    """Whether one host has room for one of these, which is then taken."""
    for host, room in sorted(rooms.items()):
        for need in needs:
            if (taken := room.choose(need)) is not None:
                held = {(one.device_id, one.slot) for one in taken.held}
                rooms[host] = replace(room, devices=[_without(one, held) for one in room.devices])
                return True
    return False


def _without(device: DeviceRoom, held: Collection[tuple[int, int]]) -> DeviceRoom:
    free = tuple(slot for slot in device.free if (device.id, slot) not in held)
    return replace(device, free=free, held=device.held + len(device.free) - len(free))


def _release(room: Room, host: str, holders: Iterable[Holder]) -> Room:
    """As the room is once these have ended."""
    slots = {
        (one.device_id, one.number)
        for holder in holders
        for one in holder.slots
        if one.host == host
    }
    return replace(room, devices=[_with(one, slots) for one in room.devices])


def _with(device: DeviceRoom, released: Collection[tuple[int, int]]) -> DeviceRoom:
    slots = [number for device_id, number in released if device_id == device.id]
    # After a restart with fewer slots an attempt may hold one that there no longer is.
    free = {*device.free, *(number for number in slots if number < device.slots)}
    return replace(device, free=tuple(sorted(free)), held=device.held - len(slots))


def _find_victims(
    rooms: dict[str, Room], needs: Sequence[Need], holders: Sequence[Holder]
) -> list[Holder]:
    """The fewest on one host that make room, none where that isn't possible."""
    found: list[list[Holder]] = []
    for host, room in sorted(rooms.items()):
        own = [one for one in holders if any(slot.host == host for slot in one.slots)]
        for need in needs:
            for count in range(1, len(own) + 1):
                if _release(room, host, own[:count]).choose(need) is not None:
                    found.append(_spare(room, host, need, own[:count]))
                    break
    return min(found, key=len, default=[])


def _spare(room: Room, host: str, need: Need, holders: Sequence[Holder]) -> list[Holder]:
    """Without those who give way for nothing: of several devices, the wrong ones."""
    needed = list(holders)
    for holder in reversed(holders):
        others = [one for one in needed if one is not holder]
        if _release(room, host, others).choose(need) is not None:
            needed = others
    return needed


def _read_slots(session: Session) -> dict[int, list[Slot]]:
    """By the job that holds them."""
    statement = select(Lease.job_id, Device.host, Device.id, Lease.slot)
    slots: dict[int, list[Slot]] = {}
    for job_id, host, device_id, number in session.execute(
        statement.join(Device, Device.id == Lease.device_id)
    ):
        slots.setdefault(job_id, []).append(Slot(host, device_id, number))
    return slots


def _read_rooms(session: Session, slots: dict[int, list[Slot]]) -> dict[str, Room]:
    """Of hosts that take jobs; slots of attempts that were asked to stop count as free."""
    statement = (
        select(Job.id, Job.attempt, Attempt.started_at)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.status == "running", Job.requested_action.is_not(None))
    )
    leaving = [
        Holder(job_id, attempt, 0, started_at, slots.get(job_id, ()))
        for job_id, attempt, started_at in session.execute(statement)
    ]
    return {host: _release(room, host, leaving) for host, room in find_rooms(session).items()}


def _read_holders(
    session: Session, slots: dict[int, list[Slot]], protected_seconds: float
) -> list[Holder]:
    """Trainings that were left alone for long enough and that nobody has asked for anything."""
    waited = func.extract("epoch", Attempt.started_at - Job.queued_at)
    ran = func.extract("epoch", func.clock_timestamp() - Attempt.started_at)
    statement = (
        select(Job.id, Job.attempt, Job.priority, waited, Attempt.started_at)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
        # A registration has no checkpoint to go on from.
        .where(Job.status == "running", Job.kind == "training", Job.requested_action.is_(None))
        .where(ran >= protected_seconds)
    )
    return [
        Holder(
            job_id,
            attempt,
            order.raise_class(priority, float(seconds)),
            started_at,
            slots.get(job_id, ()),
        )
        for job_id, attempt, priority, seconds, started_at in session.execute(statement)
    ]
