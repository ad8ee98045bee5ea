"""What the service is doing: the queue, who uses the machines, the workers and their devices, what MLflow lacks."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.http import get_current_user
from api.schemas import (
    DeviceView,
    EstimatesView,
    Listing,
    MirrorView,
    NamedProblem,
    QueueView,
    RunningView,
    UsageView,
    WaitingView,
    WorkerView,
)
from api.services import ServicesDep
from store.jobs import leases, usage
from store.mlflow import mirror_problems
from store.results import overview, start_estimates
from studies.planning import read_line

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
