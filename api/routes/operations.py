"""What the service is doing: the queue, who uses the machines, the workers and their devices, what MLflow lacks."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, status

from api.http import (
    Document,
    Forbidden,
    Id,
    Writer,
    describe_body,
    ensure_own,
    get_current_user,
    parse,
)
from api.schemas import (
    DeviceView,
    EstimatesView,
    Listing,
    MirrorView,
    NamedProblem,
    NewReservation,
    QueueView,
    ReservationView,
    RunningView,
    UsageView,
    WaitingView,
    WorkerView,
)
from api.services import ServicesDep
from store.hosts import reservations
from store.jobs import leases, usage
from store.mlflow import mirror_problems
from store.results import overview, start_estimates
from studies.planning import read_line

#: By a member; an admin may reserve for longer.
MOST_RESERVED_SECONDS = 86_400.0

log = structlog.get_logger(__name__)

router = APIRouter(dependencies=[Depends(get_current_user)])


@router.get(
    "/queue", summary="Read the queue: waiting jobs in order, and running jobs", tags=["queue"]
)
def read_queue(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="maximum number of waiting jobs")] = 100,
) -> QueueView:
    with services.sessions.begin() as session:
        line = read_line(session, limit)
        error = start_estimates.read_error(session)
        return QueueView(
            queued=[WaitingView.of(place, line.at) for place in line.places],
            running=[RunningView.of(job) for job in line.running],
            estimates=EstimatesView.of(error) if error else None,
        )


@router.get(
    "/usage", summary="Read who has used the machines, and whose turn it is", tags=["queue"]
)
def read_usage(services: ServicesDep) -> UsageView:
    """Of two waiting jobs of the same priority, the one of the person with fewer weighted device-seconds starts first."""
    with services.sessions.begin() as session:
        return UsageView.of(overview.shares(session), usage.half_life(session))


@router.get("/workers", summary="List the workers", tags=["queue"])
def list_workers(services: ServicesDep) -> Listing[WorkerView]:
    with services.sessions.begin() as session:
        items = [WorkerView.model_validate(one) for one in leases.workers_view(session)]
        return Listing(items=items)


@router.get("/devices", summary="List the devices and the jobs that hold them", tags=["queue"])
def list_devices(services: ServicesDep) -> Listing[DeviceView]:
    with services.sessions.begin() as session:
        items = [DeviceView.model_validate(one) for one in leases.devices_view(session)]
        return Listing(items=items)


@router.get(
    "/reservations", summary="List what is reserved: devices and whole hosts", tags=["queue"]
)
def list_reservations(services: ServicesDep) -> Listing[ReservationView]:
    with services.sessions.begin() as session:
        rows = reservations.list_reservations(session)
        return Listing(items=[ReservationView.of(row) for row in rows])


@router.post(
    "/reservations",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=describe_body(NewReservation),
    summary="Reserve a device, or a whole host, for a time",
    tags=["queue"],
)
def reserve(services: ServicesDep, user: Writer, document: Document) -> ReservationView:
    """No job starts there until it ends; running jobs go on. Members reserve single devices, for a day at most."""
    new = parse(NewReservation, document)
    if user.role != "admin" and (new.kind is None or new.lasts > MOST_RESERVED_SECONDS):
        raise Forbidden(
            f"{user.name} is a {user.role}: only admins can reserve a whole host, or for longer than a day"
        )
    device = None if new.kind is None or new.number is None else (new.kind, new.number)
    with services.sessions.begin() as session:
        owner = session.merge(user, load=False)
        row = reservations.reserve(session, owner, new.host, device, new.lasts, new.why)
        log.info("reserved", what=reservations.describe(row))
        return ReservationView.of(row)


@router.delete(
    "/reservations/{reservation_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Release a reservation before its end",
    tags=["queue"],
)
def release(services: ServicesDep, user: Writer, reservation_id: Id) -> None:
    with services.sessions.begin() as session:
        row = reservations.find(session, reservation_id)
        ensure_own(user, row.owner, f"reservation {row.id}")
        reservations.release(session, row)
        log.info("released", what=reservations.describe(row), by=user.name)
    services.waker.wake()


@router.get("/mirror", summary="List what is missing in MLflow, and why", tags=["mirror"])
def read_mirror(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="maximum number of problems")] = 100,
) -> MirrorView:
    """Oldest first; empty if MLflow has everything, or is about to."""
    with services.sessions.begin() as session:
        lacks = mirror_problems.list_problems(session, limit)
        return MirrorView(
            count=mirror_problems.count(session),
            problems=[NamedProblem.named(one.problem, one.name) for one in lacks],
        )
