"""`/events`: tells open pages that jobs have changed, so that they ask for what they show anew.

Each listener keeps its mark (`Last-Event-ID`), and nothing waits for it here: five hundred take no more memory than
their connections, and one that was away for a moment hears what it has missed, or that anything may have changed.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.http import Secret, get_current_user
from api.services import Services, ServicesDep
from store.accounts import users
from store.db import Changes

router = APIRouter(include_in_schema=False, dependencies=[Depends(get_current_user)])

#: Changes that come close together are told together.
TOGETHER_SECONDS = 0.2
#: Comments keep proxies from closing a quiet connection; the session is looked at as often.
HEARTBEAT_SECONDS = 15.0


@router.get("/events")
async def follow(
    services: ServicesDep,
    secret: Secret,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> StreamingResponse:
    return StreamingResponse(
        _tell(services, secret, last_event_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _tell(services: Services, secret: str, mark: str | None) -> AsyncIterator[str]:
    changes: Changes = services.changes
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    with changes.subscribed(lambda: loop.call_soon_threadsafe(changed.set)):
        yield "retry: 2000\n\n"
        while True:
            changed.clear()
            if (news := changes.since(mark)) is not None:
                is_first, mark = mark is None, news.mark
                jobs = (
                    "[]"
                    if is_first
                    else json.dumps(sorted(news.jobs) if news.jobs is not None else None)
                )
                yield f"id: {mark}\nevent: changed\ndata: {jobs}\n\n"
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
                await asyncio.sleep(TOGETHER_SECONDS)
            except TimeoutError:
                if not await run_in_threadpool(_is_valid, services, secret):
                    return
                yield ": still here\n\n"


def _is_valid(services: Services, secret: str) -> bool:
    with services.readers() as session:
        return users.authenticate(session, secret) is not None
