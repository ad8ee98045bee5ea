"""The composition root of the API process: long-lived services, middleware and routes.

`python -m runtime.http_server api.app:make_app --factory`, or with uvicorn in its place
"""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api import web
from api.http import GoneClients, SafeHeaders, drawings, error_responses, openapi
from api.kept_results import MOST_VERDICTS, SWITCH_SECONDS, KeptResults
from api.processes import Checker, OneEach, RenderQueue
from api.routes import (
    catalog,
    curves,
    datasets,
    health,
    job_history,
    jobs,
    leaderboard,
    operations,
    plans,
    presets,
    reports,
    results,
    studies,
    study_control,
    users,
)
from api.services import Services
from api.settings import Settings
from api.storage import StorageCheck, StorageSizes, refuse_wrong_storage
from api.streams import Streams
from runtime.logs import configure_logging
from runtime.supervision import Limits
from store.db import Changes, make_engine, make_readers, make_sessions
from store.jobs import Intake, Waker, wakeups
from studies.rendering import Renderer

PREFIX = "/api/v1"
#: The most requests that run at once; each holds one connection.
CONNECTIONS = 20

_ROUTERS = (
    jobs, job_history, studies, study_control, presets, plans, datasets, results, reports, curves, drawings, leaderboard, operations,
    catalog, users,
)  # fmt: skip


def make_app(settings: Settings | None = None) -> FastAPI:
    """The application; a process of its own reads the environment and says how it logs."""
    is_own_process = settings is None
    if settings is None:
        settings = Settings()
        configure_logging(settings.log_level)
        refuse_wrong_storage(settings)
    app = FastAPI(
        title="Normlab",
        version="1",
        description=openapi.DESCRIPTION,
        lifespan=_make_lifespan(settings),
        responses=openapi.RESPONSES,
        # FastAPI's pages load their scripts from elsewhere: see `api.web.docs`.
        docs_url=None,
        redoc_url=None,
    )
    # The one added last is the outermost, so every answer passes `SafeHeaders`; only an unforeseen error is
    # answered outside of it (`api.http.error_responses`).
    app.add_middleware(web.CompressedPages)
    app.add_middleware(GoneClients)
    app.add_middleware(SafeHeaders)
    for module in _ROUTERS:
        app.include_router(module.router, prefix=PREFIX)
    app.include_router(health.router)
    error_responses.install(app)
    web.install(app)
    openapi.describe(app)
    if is_own_process:
        # What is loaded stays. A collection that looks through it takes a tenth of a second, for all requests.
        gc.collect()
        gc.freeze()
    return app


def _make_lifespan(settings: Settings) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            app.state.services = _open(settings, stack)
            yield
            # Waits for threads and a process: not on the event loop.
            await run_in_threadpool(stack.close)

    return lifespan


def _open(settings: Settings, stack: ExitStack) -> Services:
    """The long-lived services of the process; the stack closes them, last opened first."""
    sys.setswitchinterval(SWITCH_SECONDS)
    engine = make_engine(settings.database_url, pool_size=CONNECTIONS)
    stack.callback(engine.dispose)
    sessions = make_sessions(engine)
    celery = stack.enter_context(closing(wakeups.make_celery(settings.redis_url)))
    waker = stack.enter_context(closing(Waker(sessions, celery)))
    checker = stack.enter_context(
        closing(
            Checker(
                limits=Limits(
                    settings.check_seconds, settings.check_idle_seconds, settings.check_megabytes
                ),
                start_seconds=settings.check_start_seconds,
                wait_seconds=settings.check_wait_seconds,
                helpers=settings.check_helpers,
                places=settings.check_places,
                folder=settings.storage.root / "checks",
            )
        )
    )
    checker.start()
    renderer = Renderer(seconds=settings.draw_seconds, megabytes=settings.draw_megabytes)
    render_queue = stack.enter_context(closing(RenderQueue(renderer)))
    storage = StorageCheck(sessions, settings.storage)
    changes, streams = stack.enter_context(closing(Changes(engine))), Streams()
    stack.enter_context(changes.subscribed(streams.wake))
    changes.start()
    return Services(
        settings,
        engine,
        sessions,
        make_readers(sessions),
        checker,
        render_queue,
        Intake(sessions),
        waker,
        storage,
        changes,
        streams,
        stack.enter_context(closing(KeptResults(changes))),
        stack.enter_context(closing(KeptResults(changes, MOST_VERDICTS))),
        OneEach(),
        StorageSizes(sessions, settings.storage),
    )
