"""Preemption: a waiting job of a strictly higher class takes the slot of a running one, which goes on later.

The running job saves a checkpoint and is queued again, as if it had not run: with the time that it had waited before.
It gives way only if its class is lower even when raised by that waiting. So the one that took its slot stays ahead of
it, and the two never take it from each other in turns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.db import PRIORITIES, Attempt, Job, lock, mark_changed
from store.jobs import leases, queue

#: Waiting jobs that are looked at in one round; those behind them come later.
MOST_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Room:
    """A device of a host that takes jobs: its slots that are free or about to be."""

    host: str
    kind: str
    device: int
    free: int


@dataclass(frozen=True, slots=True)
class Claimant:
    """A waiting job; `kind` of device: None for any."""

    job_id: int
    level: int
    devices: int
    kind: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A running job that may give way; `level`: its class, raised by the time that it waited; `slots`: the host, kind
    and number of each device that it holds."""

    job_id: int
    attempt: int
    level: int
    started_at: datetime
    slots: Sequence[tuple[str, str, int]]


def preempt(session: Session, protected_seconds: float) -> list[int]:
    """Ask running jobs to give way to those waiting of a higher class; returns the ids of the asked.

    Who hasn't run for `protected_seconds` is left alone: loading its data would have been for nothing."""
    holders = _read_holders(session, protected_seconds)
    highest = queue.highest_class(session)
    if highest is None or all(one.level >= highest for one in holders):
        return []
    claimants = [
        Claimant(one.job.id, one.job.priority, one.job.devices, one.kind)
        for one in queue.waiting(session, MOST_LOOKED_AT)
        if one.runnable and one.reached is None
    ]
    chosen = choose(claimants, holders, _read_rooms(session))
    asked = []
    # In the order of their ids, as everybody locks several jobs.
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
    claimants: Iterable[Claimant], holders: Sequence[Holder], rooms: Iterable[Room]
) -> list[tuple[Holder, Claimant]]:
    """Who gives way to whom; `claimants` in the order of the queue.

    Of those that may, the lowest class goes first, and of one class the newest, which loses least. What stands first in
    the queue for a kind of device and can neither start nor preempt holds back those behind it: they would preempt for it.
    """
    free = {(one.host, one.kind, one.device): one.free for one in rooms}
    left = sorted(holders, key=lambda one: (one.level, -one.started_at.timestamp()))
    chosen: list[tuple[Holder, Claimant]] = []
    held_back: set[str] = set()
    for claimant in claimants:
        kinds = {claimant.kind} if claimant.kind else {kind for _, kind, _ in free}
        kinds -= held_back
        if not kinds or _take(free, claimant, kinds):
            continue
        victims = _find_victims(free, claimant, kinds, left)
        if not victims:
            held_back |= kinds
        for victim in victims:
            left.remove(victim)
            chosen.append((victim, claimant))
            for slot in victim.slots:
                free[slot] += 1
        if victims:
            _take(free, claimant, kinds)
    return chosen


def _take(free: dict[tuple[str, str, int], int], claimant: Claimant, kinds: set[str]) -> bool:
    """Whether the claimant has room on one host, which is then taken."""
    for host, kind in sorted({(host, kind) for host, kind, _ in free if kind in kinds}):
        devices = [one for one, count in free.items() if one[:2] == (host, kind) and count > 0]
        if len(devices) >= claimant.devices:
            for device in devices[: claimant.devices]:
                free[device] -= 1
            return True
    return False


def _find_victims(
    free: dict[tuple[str, str, int], int],
    claimant: Claimant,
    kinds: set[str],
    holders: Sequence[Holder],
) -> list[Holder]:
    """The fewest on one host that make room, none where that isn't possible."""
    found: list[list[Holder]] = []
    for host, kind in sorted({(host, kind) for host, kind, _ in free if kind in kinds}):
        open_devices = {one for one, count in free.items() if one[:2] == (host, kind) and count > 0}
        victims: list[Holder] = []
        for holder in holders:
            if len(open_devices) >= claimant.devices or holder.level >= claimant.level:
                break
            gained = {one for one in holder.slots if one[:2] == (host, kind) and one in free}
            if gained - open_devices:
                open_devices |= gained
                victims.append(holder)
        if victims and len(open_devices) >= claimant.devices:
            found.append(victims)
    return min(found, key=len, default=[])


def _read_rooms(session: Session) -> list[Room]:
    """Of hosts that take jobs; slots of attempts that were asked to stop count as free."""
    takes_jobs = {one.host for one in leases.workers_view(session) if one.claims}
    asked = select(Job.id).where(Job.status == "running", Job.requested_action.is_not(None))
    leaving = set(session.scalars(asked))
    rooms = []
    for device in leases.devices_view(session):
        if device.host in takes_jobs:
            busy = sum(one.slot < device.slots and one.job_id not in leaving for one in device.held)
            rooms.append(Room(device.host, device.kind, device.number, device.slots - busy))
    return rooms


def _read_holders(session: Session, protected_seconds: float) -> list[Holder]:
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
    slots: dict[int, list[tuple[str, str, int]]] = {}
    for device in leases.devices_view(session):
        for held in device.held:
            slots.setdefault(held.job_id, []).append((device.host, device.kind, device.number))
    return [
        Holder(
            job_id,
            attempt,
            queue.raise_class(priority, float(seconds)),
            started_at,
            slots.get(job_id, ()),
        )
        for job_id, attempt, priority, seconds, started_at in session.execute(statement)
    ]
