"""The first page: what runs, on which device and until when; what waits, and for what; who uses the machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.http import Reader
from api.services import ServicesDep
from api.web.render import PageRoute, render
from store.access import current, everything
from store.db import PRIORITIES, User
from store.hosts import host_views, reservations
from store.jobs import usage
from store.results import Share, overview, start_estimates
from studies.planning import Place, read_line

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: Of the queue, so many are listed.
MOST_WAITING = 50


@dataclass(frozen=True, slots=True)
class Own:
    """The reader's part: what they have used, and the first of their jobs in the queue (None: none is listed)."""

    share: Share
    next: Place | None


@router.get("/")
def show_now(request: Request, services: ServicesDep, user: Reader) -> Response:
    # Of private projects the page shows whose jobs they are, no more.
    with services.sessions.begin() as session, everything(session):
        line = read_line(session, MOST_WAITING)
        shares = overview.shares(session)
        context: dict[str, Any] = {
            "slots": line.slots,
            "troubled": [one for one in line.workers if one.problems],
            "devices": list(dict.fromkeys(_name(one.device) for one in line.slots)),
            "hosts": sorted({one.host for one in line.workers}) if user.role == "admin" else (),
            "reservations": reservations.list_reservations(session),
            "queue": line.places,
            "hidden": current().hidden,
            "own": _find_own(user, shares, line.places),
            "error": start_estimates.read_error(session),
            "waiting_count": sum(one.queued for one in shares),
            "priorities": PRIORITIES,
            "shares": shares,
            "is_weighted": any(one.weight != 1.0 for one in shares),
            "half_life": usage.half_life(session),
            "used": sum(one.seconds for one in shares) or 1.0,
        }
    return render(request, "now.html", user, title="Now", **context)


def _name(device: host_views.DeviceView) -> tuple[str, str, int]:
    return device.host, device.kind, device.number


def _find_own(user: User, shares: Sequence[Share], places: Sequence[Place]) -> Own | None:
    share = next((one for one in shares if one.name == user.name), None)
    if share is None:
        return None
    mine = (one for one in places if one.waiting.job.owner.name == user.name)
    return Own(share, next(mine, None))
