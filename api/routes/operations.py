"""What the service is doing: the queue, who uses the machines and the storage, the workers and their devices, what
MLflow lacks."""

from datetime import timedelta
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, status

from api.http import (
    Administrator,
    AuditTrail,
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
    DiskView,
    EstimatesView,
    GcRequest,
    Listing,
    MirrorView,
    NamedProblem,
    NewReservation,
    OwnedView,
    QueueView,
    RemovedView,
    ReservationView,
    RunningView,
    UsageView,
    WaitingView,
    WorkerView,
)
from api.services import ServicesDep
from api.storage import delete_files
from store.access import current, everything
from store.hosts import Stored, disk_use, host_views, reservations
from store.jobs import limits, maintenance, usage
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
    hidden = current().hidden
    with services.sessions.begin() as session, everything(session):
        line = read_line(session, limit)
        error = start_estimates.read_error(session)
        return QueueView(
            queued=[WaitingView.of(place, line.at, hidden) for place in line.places],
            running=[RunningView.of(job, hidden) for job in line.running],
            estimates=EstimatesView.of(error) if error else None,
        )


@router.get(
    "/usage", summary="Read each person's use of the devices, and whose turn it is", tags=["queue"]
)
def read_usage(services: ServicesDep) -> UsageView:
    """Of two waiting jobs of the same priority, the one of the person with fewer weighted device-seconds starts first."""
    with services.sessions.begin() as session, everything(session):
        return UsageView.of(overview.shares(session), usage.half_life(session))


@router.get(
    "/disk",
    summary="Read each person's use of the storage, and what could be removed",
    tags=["queue"],
)
def read_disk(services: ServicesDep) -> DiskView:
    """As far as rows name the files: checkpoints and files of jobs, reports of studies."""
    with services.sessions.begin() as session, everything(session):
        kept = timedelta(days=services.settings.keep_checkpoints_days)
        owned, removable = (
            disk_use.read_owned(session),
            maintenance.measure_checkpoints(session, kept),
        )
        allowed = limits.of_everybody(session, "disk_bytes")
    items = [
        OwnedView(
            user=name,
            checkpoint_bytes=one.checkpoints,
            file_bytes=one.files,
            limit_bytes=allowed[name],
        )
        for name, one in sorted(owned.items(), key=lambda item: -item[1].bytes)
    ]
    return DiskView(items=items, removable=RemovedView.of(removable))


@router.post(
    "/gc",
    openapi_extra=describe_body(GcRequest),
    summary="Remove checkpoints for resuming jobs that have ended",
    tags=["queue"],
)
def collect_garbage(
    services: ServicesDep, admin: Administrator, trail: AuditTrail, document: Document
) -> RemovedView:
    """The best checkpoint of each job stays. A failed or cancelled job without its last one starts from the beginning when it is
    retried."""
    asked = parse(GcRequest, document)
    kept = timedelta(days=services.settings.keep_checkpoints_days)
    if asked.older_than is not None:
        kept = timedelta(seconds=asked.older_than)
    if asked.dry_run:
        with services.sessions.begin() as session:
            return RemovedView.of(maintenance.measure_checkpoints(session, kept))
    count = size = 0
    while True:
        with services.sessions.begin() as session:
            removed = maintenance.remove_checkpoints(session, kept)
            if (stored := removed.stored).count:
                detail = {"count": stored.count, "bytes": stored.bytes}
                trail.note(session, "checkpoints.removed", "of ended jobs", **detail)
        # After the commit: a file without a row is deleted by the sweep in any case.
        delete_files(services.settings.storage, removed.paths)
        count, size = count + removed.stored.count, size + removed.stored.bytes
        if removed.stored.count < maintenance.CHECKPOINTS_AT_ONCE:
            break
    log.info("checkpoints were removed", checkpoints=count, bytes=size, by=admin.name)
    return RemovedView.of(Stored(count, size))


@router.get("/workers", summary="List the workers", tags=["queue"])
def list_workers(services: ServicesDep) -> Listing[WorkerView]:
    with services.sessions.begin() as session, everything(session):
        found = host_views.with_gpus(
            host_views.workers_view(session), host_views.devices_view(session)
        )
        return Listing(items=[WorkerView.model_validate(one) for one in found])


@router.get("/devices", summary="List the devices and the jobs that hold them", tags=["queue"])
def list_devices(services: ServicesDep) -> Listing[DeviceView]:
    hidden = current().hidden
    with services.sessions.begin() as session, everything(session):
        items = [DeviceView.of(one, hidden) for one in host_views.devices_view(session)]
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
def reserve(
    services: ServicesDep, user: Writer, trail: AuditTrail, document: Document
) -> ReservationView:
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
        what = reservations.describe(row)
        trail.note(session, "device.reserved", what, why=row.why, ends_at=row.ends_at.isoformat())
        log.info("reserved", what=what)
        return ReservationView.of(row)


@router.delete(
    "/reservations/{reservation_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Release a reservation before its end",
    tags=["queue"],
)
def release(services: ServicesDep, user: Writer, trail: AuditTrail, reservation_id: Id) -> None:
    with services.sessions.begin() as session:
        row = reservations.find(session, reservation_id)
        ensure_own(user, row.owner, f"reservation {row.id}")
        trail.note(session, "device.released", reservations.describe(row))
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
