"""`/events`: tells open pages which jobs have changed, so that they ask for what they show anew.

Nothing is queued for a listener: it keeps its place itself, as the id of the last event (`Last-Event-ID`, or `since`
of a page that was just rendered), and hears of what came after that, or that anything may have changed.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from api.http import Secret, authenticate, get_current_user
from api.services import Services, ServicesDep
from runtime.process import called_at_end
from store.access import Access, current, read_as
from store.db import DATABASE_AWAY, Job

router = APIRouter(include_in_schema=False, dependencies=[Depends(get_current_user)])

#: So far apart are two events at least: a change is told at once, and those that come close after it together.
APART_SECONDS = 0.1
#: So often at least a comment is sent, for proxies that close quiet connections.
HEARTBEAT_SECONDS = 15.0
#: So often at least the session is looked at: for hundreds of pages that costs more than to tell them what changes.
CHECK_SECONDS = 60.0


@router.get("/events")
async def follow(
    services: ServicesDep,
    secret: Secret,
    since: Annotated[str | None, Query(max_length=100)] = None,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> StreamingResponse:
    return StreamingResponse(
        _tell(services, secret, last_event_id or since),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _tell(services: Services, secret: str, last: str | None) -> AsyncIterator[str]:
    loop, is_ending = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        loop.call_soon_threadsafe(is_ending.set)
        loop.call_soon_threadsafe(changed.set)

    told_at, beats_at, checks_at = 0.0, _in_about(HEARTBEAT_SECONDS), _in_about(CHECK_SECONDS)
    with services.streams.woken() as changed, called_at_end(end):
        yield "retry: 2000\n\n"
        while not is_ending.is_set():
            changed.clear()
            if (news := services.changes.since(last)) is not None:
                last, jobs = news.mark, news.jobs
                if jobs and current().hidden:
                    jobs = await run_in_threadpool(_choose_shown, services, jobs)
                if jobs != frozenset() or not news.jobs:
                    told_at = time.monotonic()
                    yield f"id: {last}\nevent: changed\ndata: {_write(jobs)}\n\n"
            with suppress(TimeoutError):
                # Not `wait_for`, which makes a task for each stream and each change.
                async with asyncio.timeout(min(beats_at, checks_at) - time.monotonic()):
                    await changed.wait()
            if (pause := told_at + APART_SECONDS - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            if time.monotonic() >= checks_at:
                checks_at = _in_about(CHECK_SECONDS)
                access = await run_in_threadpool(_find_access, services, secret, current())
                if access is None:
                    return
                read_as(access)
            if time.monotonic() >= beats_at:
                beats_at = _in_about(HEARTBEAT_SECONDS)
                yield ": still here\n\n"


def _in_about(seconds: float) -> float:
    """Not all at once: after a restart of the service all pages come back in the same second."""
    return time.monotonic() + seconds * random.uniform(0.5, 1.0)  # noqa: S311


def _write(jobs: frozenset[int] | None) -> str:
    return json.dumps(None if jobs is None else sorted(jobs))


def _choose_shown(services: Services, job_ids: frozenset[int]) -> frozenset[int] | None:
    """Those that the reader may read; None, for all that may have changed, where the database can't be asked."""
    try:
        with services.readers() as session:
            return frozenset(session.scalars(select(Job.id).where(Job.id.in_(job_ids))))
    except DATABASE_AWAY:
        return None


def _find_access(services: Services, secret: str, access: Access) -> Access | None:
    """Whose session it is; as far as the database can't be asked, as before; None if it has ended."""
    try:
        with services.readers() as session:
            caller = authenticate(session, secret)
    except DATABASE_AWAY:
        return access
    return None if caller is None else caller.access
