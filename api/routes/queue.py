"""The line of waiting jobs, and the workers and devices that serve it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.http import get_current_user
from api.schemas import DeviceView, Listing, QueueView, RunningView, WaitingView, WorkerView
from api.services import ServicesDep
from store.jobs import leases, queue

router = APIRouter(tags=["queue"], dependencies=[Depends(get_current_user)])


@router.get("/queue", summary="What waits, in order, and what runs")
def read_queue(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="waiting jobs")] = 100,
) -> QueueView:
    with services.sessions.begin() as session:
        return QueueView(
            queued=[WaitingView.of(one) for one in queue.waiting(session, limit)],
            running=[RunningView.of(job) for job in queue.running(session)],
        )


@router.get("/workers", summary="The hosts that train")
def list_workers(services: ServicesDep) -> Listing[WorkerView]:
    with services.sessions.begin() as session:
        items = [WorkerView.model_validate(one) for one in leases.workers_view(session)]
        return Listing(items=items)


@router.get("/devices", summary="Their devices, and who holds them until when")
def list_devices(services: ServicesDep) -> Listing[DeviceView]:
    with services.sessions.begin() as session:
        items = [DeviceView.model_validate(one) for one in leases.devices_view(session)]
        return Listing(items=items)
