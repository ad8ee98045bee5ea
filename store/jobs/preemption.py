"""Preemption: a waiting job of a strictly higher class takes the slot of a running one, which goes on later.

The running job saves a checkpoint and is queued again, as if it had not run: with the time that it had waited before.
It gives way only if its class is lower even when raised by that waiting. So the one that took its slot stays ahead of
it, and the two never take it from each other in turns.

What several slots are needed for gets them one by one. So a job on several or whole devices preempts only once it has
waited so long that a host keeps them for it (`store.hosts.room`), and only there: others would take them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.db import PRIORITIES, Attempt, Device, Job, Lease, Worker
from store.hosts import (
    PATIENCE_SECONDS,
    DeviceRoom,
    Need,
    Room,
    Taken,
    choose_host,
    find_rooms,
    host_health,
)
from store.jobs import commands, limits, order, queue
from store.reuse import answers

#: Waiting jobs that are looked at in one round; those behind them come later.
MOST_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Claimant:
    """A waiting job, and for how long it has waited, in seconds."""

    job_id: int
    owner_id: int
    level: int
    need: Need
    waited: float

    @property
    def is_wide(self) -> bool:
        return self.need.devices > 1 or self.need.exclusive


@dataclass(frozen=True, slots=True)
class Slot:
    """`booked_bytes`: of the device's memory; None: all of it."""

    host: str
    device_id: int
    number: int
    booked_bytes: int | None = None


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
    claimants = _read_claimants(session)
    allowances = _read_allowances(session, {one.owner_id for one in claimants})
    asked = []
    for holder, claimant in choose(claimants, holders, _read_rooms(session, slots), allowances):
        # It may have ended meanwhile, or been asked for something by a person; one that is being changed at this moment
        # is left to the next round.
        locked = (
            select(Job)
            .where(Job.id == holder.job_id, Job.attempt == holder.attempt, Job.status == "running")
            .where(Job.requested_action.is_(None))
            .with_for_update(key_share=True, skip_locked=True)
            .execution_options(populate_existing=True)
        )
        if (job := session.scalars(locked).one_or_none()) is not None:
            who = f"job {claimant.job_id} ({PRIORITIES[claimant.level]})"
            commands.request_action(session, job, "preempt", who)
            asked.append(job.id)
    return asked


def choose(
    claimants: Iterable[Claimant],
    holders: Sequence[Holder],
    rooms: Mapping[str, Room],
    allowances: Mapping[int, int],
) -> list[tuple[Holder, Claimant]]:
    """Who gives way to whom; `claimants` in the order of the queue, `rooms` by host, `allowances`: how many more jobs an
    owner may have running, of those who have a limit.

    Of those that may, the lowest class goes first, and of one class the newest, which loses least. What stands first in
    the queue for a kind of device and can neither start nor preempt holds back those behind it: they would preempt for it.
    """
    rooms, allowed = dict(rooms), dict(allowances)
    left = sorted(holders, key=lambda one: (one.level, -one.started_at.timestamp()))
    chosen: list[tuple[Holder, Claimant]] = []
    held_back: set[str] = set()
    for claimant in claimants:
        kinds = {one.kind for room in rooms.values() for one in room.devices} - held_back
        needs = [
            replace(claimant.need, kind=kind)
            for kind in sorted(kinds)
            if claimant.need.kind in (None, kind)
            and any(room.is_large_enough(claimant.need, kind) for room in rooms.values())
        ]
        if not needs or allowed.get(claimant.owner_id, 1) < 1:
            continue
        if claimant.owner_id in allowed:
            allowed[claimant.owner_id] -= 1
        # Others may still pass it.
        if _take(rooms, needs) or (claimant.is_wide and claimant.waited < PATIENCE_SECONDS):
            continue
        lower = [one for one in left if one.level < claimant.level]
        victims = _find_victims(_where_kept(rooms, claimant, needs), needs, lower)
        # What several hold becomes free one by one, too.
        if len(victims) > claimant.need.devices and claimant.waited < PATIENCE_SECONDS:
            continue
        if not victims:
            held_back.update(need.kind for need in needs if need.kind is not None)
            continue
        for victim in victims:
            left.remove(victim)
            chosen.append((victim, claimant))
        rooms |= {host: _release(room, host, victims) for host, room in rooms.items()}
        _take(rooms, needs)
    return chosen


def _where_kept(
    rooms: Mapping[str, Room], claimant: Claimant, needs: Sequence[Need]
) -> Mapping[str, Room]:
    """The hosts where what is made free is left to the claimant."""
    if not claimant.is_wide:
        return rooms
    # Which of several kinds is kept for it depends on what is free at that moment.
    if len(needs) > 1:
        return {}
    [need] = needs
    assert need.kind is not None
    host = choose_host(need, need.kind, rooms)
    return {host: rooms[host]}


def _take(rooms: dict[str, Room], needs: Sequence[Need]) -> bool:
    """Whether one host has room for one of these, which is then taken."""
    for host, room in sorted(rooms.items()):
        for need in needs:
            if (taken := room.choose(need)) is not None:
                rooms[host] = replace(room, devices=[_without(one, taken) for one in room.devices])
                return True
    return False


def _without(device: DeviceRoom, taken: Taken) -> DeviceRoom:
    held = {one.slot for one in taken.held if one.device_id == device.id}
    free = tuple(slot for slot in device.free if slot not in held)
    booked = len(held) * _booked(device, taken.booked_bytes)
    return replace(
        device, free=free, held=device.held + len(held), booked_bytes=device.booked_bytes + booked
    )


def _booked(device: DeviceRoom, booked_bytes: int | None) -> int:
    """By one lease, as `store.hosts.booked_bytes` counts them."""
    return (device.memory_bytes or 0) if booked_bytes is None else booked_bytes


def _release(room: Room, host: str, holders: Iterable[Holder]) -> Room:
    """As the room is once these have ended."""
    slots = {one for holder in holders for one in holder.slots if one.host == host}
    return replace(room, devices=[_with(one, slots) for one in room.devices])


def _with(device: DeviceRoom, released: Collection[Slot]) -> DeviceRoom:
    slots = [one for one in released if one.device_id == device.id]
    # After a restart with fewer slots an attempt may hold one that there no longer is.
    free = {*device.free, *(one.number for one in slots if one.number < device.slots)}
    booked = sum(_booked(device, one.booked_bytes) for one in slots)
    return replace(
        device,
        free=tuple(sorted(free)),
        held=device.held - len(slots),
        booked_bytes=device.booked_bytes - booked,
    )


def _find_victims(
    rooms: Mapping[str, Room], needs: Sequence[Need], holders: Sequence[Holder]
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


def _read_claimants(session: Session) -> list[Claimant]:
    """The first of the queue, without those that will be answered by a job that trains the same now."""
    # What needs a package that some host lacks might ask a job on that one to give way, for nothing.
    statement = select(Worker.packages).where(host_health.seen_lately())
    present = [{*packages} for packages in session.scalars(statement)]
    everywhere = set.intersection(*present) if present else set()
    waiting = [
        one
        for one in queue.waiting(session, MOST_LOOKED_AT)
        if one.runnable and one.reached is None and {*one.job.packages} <= everywhere
    ]
    equal = select(Job.id).where(Job.id.in_([one.job.id for one in waiting]), answers.has_equal())
    answered = set(session.scalars(equal))
    return [
        Claimant(
            one.job.id,
            one.job.owner.id,
            one.job.priority,
            Need.of(one.job, one.kind, one.bookings),
            one.waiting_seconds,
        )
        for one in waiting
        if one.job.id not in answered
    ]


def _read_allowances(session: Session, owners: Collection[int]) -> dict[int, int]:
    count = select(Job.owner_id, func.count()).where(
        Job.status == "running", Job.owner_id.in_(owners)
    )
    running: dict[int, int] = {
        owner: number for owner, number in session.execute(count.group_by(Job.owner_id))
    }
    most = {owner: limits.in_force(session, owner).running for owner in owners}
    return {
        owner: limit - running.get(owner, 0) for owner, limit in most.items() if limit is not None
    }


def _read_slots(session: Session) -> dict[int, list[Slot]]:
    """By the job that holds them."""
    statement = select(Lease.job_id, Device.host, Device.id, Lease.slot, Lease.booked_bytes)
    slots: dict[int, list[Slot]] = {}
    statement = statement.join(Device, Device.id == Lease.device_id)
    for job_id, host, device_id, number, booked in session.execute(statement):
        slots.setdefault(job_id, []).append(Slot(host, device_id, number, booked))
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
