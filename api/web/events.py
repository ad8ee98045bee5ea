"""`/events`: tells open pages which jobs have changed, so that they ask for what they show anew.

Nothing is queued for a listener: it keeps its place itself, as the id of the last event (`Last-Event-ID`, or `since`
of a page that was just rendered), and hears of what came after that, or that anything may have changed.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.http import Secret, authenticate, get_current_user
from api.services import Services, ServicesDep
from runtime.termination import called_at_end
from store.db import DATABASE_AWAY

router = APIRouter(include_in_schema=False, dependencies=[Depends(get_current_user)])

#: So far apart are two events at least: a change is told at once, and those that come close after it together.
APART_SECONDS = 0.1
#: So often a comment is sent, for proxies that close quiet connections, and the session looked at.
HEARTBEAT_SECONDS = 15.0


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
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    is_ending = asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    def end() -> None:
        loop.call_soon_threadsafe(is_ending.set)
        wake()

    checked_at, told_at = time.monotonic(), 0.0
    with services.changes.subscribed(wake), called_at_end(end):
        yield "retry: 2000\n\n"
        while not is_ending.is_set():
            changed.clear()
            if (news := services.changes.since(last)) is not None:
                last, told_at = news.mark, time.monotonic()
                yield f"id: {last}\nevent: changed\ndata: {_write(news.jobs)}\n\n"
            with suppress(TimeoutError):
                # Not `wait_for`, which makes a task: there are hundreds of streams, each of which waits once for an event.
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await changed.wait()
            if (pause := told_at + APART_SECONDS - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            if time.monotonic() - checked_at >= HEARTBEAT_SECONDS:
                checked_at = time.monotonic()
                if not await run_in_threadpool(_may_go_on, services, secret):
                    return
                yield ": still here\n\n"


def _write(jobs: frozenset[int] | None) -> str:
    return json.dumps(None if jobs is None else sorted(jobs))


def _may_go_on(services: Services, secret: str) -> bool:
    """Whether the session is valid still, as far as the database can be asked."""
    try:
        with services.readers() as session:
            return authenticate(session, secret) is not None
    except DATABASE_AWAY:
        return True
