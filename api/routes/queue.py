"""The queue, the workers and their devices."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.http import get_current_user
from api.schemas import DeviceView, Listing, QueueView, RunningView, WaitingView, WorkerView
from api.services import ServicesDep
from store.jobs import leases, queue

router = APIRouter(tags=["queue"], dependencies=[Depends(get_current_user)])


@router.get("/queue", summary="Read the queue: waiting jobs in order, and running jobs")
def read_queue(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="maximum number of waiting jobs")] = 100,
) -> QueueView:
    with services.sessions.begin() as session:
        return QueueView(
            queued=[WaitingView.of(one) for one in queue.waiting(session, limit)],
            running=[RunningView.of(job) for job in queue.running(session)],
        )


@router.get("/workers", summary="List the workers")
def list_workers(services: ServicesDep) -> Listing[WorkerView]:
    with services.sessions.begin() as session:
        items = [WorkerView.model_validate(one) for one in leases.workers_view(session)]
        return Listing(items=items)


@router.get("/devices", summary="List the devices and the jobs that hold them")
def list_devices(services: ServicesDep) -> Listing[DeviceView]:
    with services.sessions.begin() as session:
        items = [DeviceView.model_validate(one) for one in leases.devices_view(session)]
        return Listing(items=items)
