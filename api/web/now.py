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
from store.db import PRIORITIES, Job
from store.jobs import leases, queue
from store.results import Progress, overview

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


@router.get("/")
def show_now(request: Request, services: ServicesDep, user: Reader) -> Response:
    with services.sessions.begin() as session:
        workers = leases.workers_view(session)
        hosts = {one.host for one in workers if one.alive}
        shares = overview.shares(session)
        context: dict[str, Any] = {
            "slots": _read_slots(session, hosts),
            "troubled": [one for one in workers if one.problems],
            "waiting": queue.waiting(session, MOST_WAITING),
            "waiting_count": sum(one.queued for one in shares),
            "priorities": PRIORITIES,
            "shares": shares,
            "used": sum(one.seconds for one in shares) or 1.0,
        }
    return render(request, "now.html", user, title="Now", **context)


def _read_slots(session: Session, hosts: set[str]) -> Sequence[Slot]:
    running = {job.id: job for job in queue.running(session)}
    progress = overview.progress(session)
    return [
        slot
        for device in leases.devices_view(session)
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
