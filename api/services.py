"""The long-lived services that endpoints use, created once per process by `api.app`."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from api.kept_results import KeptResults
from api.limits import Places, RequestRates
from api.openid import Flow
from api.processes import Checker, OneEach, RenderQueue
from api.settings import Settings
from api.storage import StorageCheck, StorageSizes
from api.streams import Streams
from store.db import Changes
from store.jobs import Intake, Waker


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, connections and helper processes."""

    settings: Settings
    engine: Engine
    #: They hide what the reader of the request may not read (`store.access.hidden`).
    sessions: sessionmaker[Session]
    #: The same for one statement that needs no transaction around it.
    readers: sessionmaker[Session]
    #: As `readers`, but they show everything: for what is made once for several people.
    all_readers: sessionmaker[Session]
    checker: Checker
    render_queue: RenderQueue
    intake: Intake
    waker: Waker
    storage: StorageCheck
    changes: Changes
    streams: Streams
    kept_results: KeptResults
    #: What a list of studies says of each.
    kept_verdicts: KeptResults
    #: Of the documents that are checked while they are written.
    drafts: OneEach
    storage_sizes: StorageSizes
    rates: RequestRates
    #: Of requests that compute over many jobs.
    places: Places
    #: Where people may log in besides; None: with a token only.
    provider: Flow | None


async def get_services(request: Request) -> Services:
    """Async, and so without a thread: a health check needs it when all are taken."""
    services: Services = request.app.state.services
    return services


ServicesDep: TypeAlias = Annotated[Services, Depends(get_services)]
