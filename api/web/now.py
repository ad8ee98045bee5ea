"""The first page: what runs, on which device and until when; what waits, and for what; who uses the machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import Reader
from api.services import ServicesDep
from api.web.render import PageRoute, render
from store.db import PRIORITIES, Job, User
from store.jobs import Waiting, leases, obstacles, queue, usage
from store.results import Progress, Share, overview, pace
from studies.planning import Turn, expect_starts

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: Of the queue, so many are listed.
MOST_WAITING = 50


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of a device; free without a job. `share`: done of the job, from 0 to 1."""

    device: leases.DeviceView
    number: int
    held: leases.Held | None
    job: Job | None
    progress: Progress | None

    @property
    def share(self) -> float | None:
        if self.job is None or not self.job.total_steps:
            return None
        return min(1.0, self.job.step / self.job.total_steps)

    @property
    def free_in(self) -> float | None:
        """Seconds until another job can have it; None where nothing tells."""
        if self.held is None or self.job is None:
            return 0.0
        return self.progress.seconds_left if self.progress else None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue: why its job waits, and in how many seconds it may start (None: nothing tells)."""

    waiting: Waiting
    why: str
    starts_in: float | None


@dataclass(frozen=True, slots=True)
class Own:
    """The reader's part: what they have used, and the first of their jobs in the queue (None: none is listed)."""

    share: Share
    next: Place | None


@router.get("/")
def show_now(request: Request, services: ServicesDep, user: Reader) -> Response:
    with services.sessions.begin() as session:
        workers = leases.workers_view(session)
        devices = leases.devices_view(session)
        hosts = {one.host for one in workers if one.alive}
        slots = _read_slots(session, devices, hosts)
        shares = overview.shares(session)
        places = _read_queue(session, workers, devices, slots)
        context: dict[str, Any] = {
            "slots": slots,
            "troubled": [one for one in workers if one.problems],
            "queue": places,
            "own": _find_own(user, shares, places),
            "waiting_count": sum(one.queued for one in shares),
            "priorities": PRIORITIES,
            "shares": shares,
            "is_weighted": any(one.weight != 1.0 for one in shares),
            "half_life": usage.half_life(session),
            "used": sum(one.seconds for one in shares) or 1.0,
        }
    return render(request, "now.html", user, title="Now", **context)


def _find_own(user: User, shares: Sequence[Share], places: Sequence[Place]) -> Own | None:
    share = next((one for one in shares if one.name == user.name), None)
    if share is None:
        return None
    mine = (one for one in places if one.waiting.job.owner.name == user.name)
    return Own(share, next(mine, None))


def _read_slots(
    session: Session, devices: Sequence[leases.DeviceView], hosts: set[str]
) -> Sequence[Slot]:
    running = {job.id: job for job in queue.running(session)}
    progress = overview.progress(session)
    return [
        slot
        for device in devices
        if device.host in hosts or device.held
        for slot in _slots_of(device, running, progress)
    ]


def _slots_of(
    device: leases.DeviceView, running: Mapping[int, Job], progress: Mapping[int, Progress]
) -> list[Slot]:
    held = {one.slot: one for one in device.held}
    # After a restart with fewer slots, a job may still hold one of a higher number.
    numbers = sorted({*range(device.slots), *held})
    return [
        Slot(
            device,
            number,
            one := held.get(number),
            running.get(one.job_id) if one else None,
            progress.get(one.job_id) if one else None,
        )
        for number in numbers
    ]


def _read_queue(
    session: Session,
    workers: Sequence[leases.WorkerView],
    devices: Sequence[leases.DeviceView],
    slots: Sequence[Slot],
) -> Sequence[Place]:
    waiting = queue.waiting(session, MOST_WAITING)
    hosts = {one.host for one in workers if one.claims}
    usable = [one for one in slots if one.device.host in hosts and one.number < one.device.slots]
    hindered = {
        one.job.id: obstacles.describe_hosts(workers, devices, one.kind, one.job.devices)
        for one in waiting
    }
    starts = _expect_starts(session, [one for one in waiting if not hindered[one.job.id]], usable)
    return [
        Place(
            one,
            "; ".join(hindered[one.job.id]) or _say_why(one, usable),
            starts.get(one.job.id),
        )
        for one in waiting
    ]


def _say_why(one: Waiting, usable: Sequence[Slot]) -> str:
    if not one.runnable:
        return "its dataset is not ready"
    if one.position > 1:
        return f"behind {one.position - 1} other{'s' if one.position > 2 else ''}"
    fitting = [slot for slot in usable if one.kind in (None, slot.device.kind)]
    free = sum(slot.held is None for slot in fitting)
    if free >= one.job.devices:
        return "next in line: a slot is free"
    kind = f" {one.kind}" if one.kind else ""
    if one.job.devices > 1:
        return (
            f"next in line: it needs {one.job.devices}{kind} devices at once, and {free} are free"
        )
    if len(fitting) == 1:
        return f"next in line: the only{kind} slot is in use"
    number = "both" if len(fitting) == 2 else f"all {len(fitting)}"
    return f"next in line: {number}{kind} slots are in use"


def _expect_starts(
    session: Session, waiting: Sequence[Waiting], usable: Sequence[Slot]
) -> Mapping[int, float | None]:
    """By job."""
    runnable = [one for one in waiting if one.runnable]
    ids = {one.job.study_id for one in runnable if one.job.study_id is not None}
    usual = pace.recent_seconds(session, ids)
    turns = [
        Turn(one.kind, one.job.devices, _expect_seconds(one.job, usual.get(one.job.study_id or 0)))
        for one in runnable
    ]
    free: dict[str, list[float]] = {}
    for slot in usable:
        if (seconds := slot.free_in) is not None:
            free.setdefault(slot.device.kind, []).append(seconds)
    starts = expect_starts(turns, free)
    return {one.job.id: start for one, start in zip(runnable, starts, strict=True)}


def _expect_seconds(job: Job, usual: float | None) -> float | None:
    """What is left of it, if it takes as long as others of its study did."""
    if usual is None or not job.total_steps:
        return usual
    return usual * max(0.0, 1 - job.step / job.total_steps)
