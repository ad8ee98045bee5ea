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

from api import monitoring, web
from api.http import GoneClients, SafeHeaders, drawings, error_responses, find_client, openapi
from api.kept_results import MOST_VERDICTS, SWITCH_SECONDS, KeptResults
from api.limits import FairTurns, Places, RequestRates
from api.openid import open_provider
from api.processes import Checker, OneEach, RenderQueue
from api.routes import (
    catalog,
    control,
    curves,
    datasets,
    job_history,
    jobs,
    leaderboard,
    operations,
    plans,
    presets,
    reports,
    results,
    studies,
)
from api.routes.accounts import projects, users, webhooks
from api.services import Services
from api.settings import Settings
from api.storage import StorageCheck, StorageSizes, refuse_wrong_storage
from api.streams import Streams
from runtime.logs import configure_logging
from runtime.metrics import make_registry
from runtime.supervision import Limits
from runtime.tracing import NO_TRACES, Traces, make_traces
from store.access import hide_private
from store.db import Changes, make_engine, make_readers, make_sessions
from store.jobs import Intake, Waker, wakeups
from studies.rendering import Renderer

PREFIX = "/api/v1"
#: The most requests that run at once; each holds one connection.
CONNECTIONS = 20

#: Checks of the service's health, and the streams that pages keep open.
_NEVER_WAIT = ("/healthz", "/readyz", "/metrics", "/events")

_ROUTERS = (
    jobs, job_history, studies, control, presets, plans, datasets, results, reports, curves, drawings, leaderboard, operations,
    catalog, projects, users, webhooks,
)  # fmt: skip


def make_app(settings: Settings | None = None) -> FastAPI:
    """The application; a process of its own reads the environment and says how it logs."""
    is_own_process = settings is None
    if settings is None:
        settings = Settings()
        configure_logging(settings.log_level)
        refuse_wrong_storage(settings)
    traces = make_traces("api") if is_own_process else NO_TRACES
    app = FastAPI(
        title="Normlab",
        version="1",
        description=openapi.DESCRIPTION,
        lifespan=_make_lifespan(settings, traces),
        responses=openapi.RESPONSES,
        # FastAPI's pages load their scripts from elsewhere: see `api.web.docs`.
        docs_url=None,
        redoc_url=None,
    )
    app.state.metrics = monitoring.Metrics(make_registry("api"))
    # The one added last is the outermost, so every answer passes `SafeHeaders`; only an unforeseen error is
    # answered outside of it (`api.http.error_responses`).
    app.add_middleware(web.CompressedPages)
    app.add_middleware(GoneClients)
    app.add_middleware(FairTurns, find_client=find_client, exempt=_NEVER_WAIT)
    app.add_middleware(SafeHeaders)
    app.add_middleware(
        monitoring.RequestTimes,
        histogram=monitoring.make_histogram(app.state.metrics.registry),
        prefix=PREFIX,
    )
    if traces is not NO_TRACES:
        app.add_middleware(monitoring.RequestSpans, traces=traces, prefix=PREFIX)
    for module in _ROUTERS:
        app.include_router(module.router, prefix=PREFIX)
    app.include_router(monitoring.health.router)
    app.include_router(monitoring.router)
    error_responses.install(app)
    web.install(app)
    openapi.describe(app)
    if is_own_process:
        # What is loaded stays. A collection that looks through it takes a tenth of a second, for all requests.
        gc.collect()
        gc.freeze()
    return app


def _make_lifespan(settings: Settings, traces: Traces) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            stack.callback(traces.close)
            app.state.services = _open(settings, stack)
            yield
            # Waits for threads and a process: not on the event loop.
            await run_in_threadpool(stack.close)

    return lifespan


def _open(settings: Settings, stack: ExitStack) -> Services:
    """The long-lived services of the process; the stack closes them, last opened first."""
    sys.setswitchinterval(SWITCH_SECONDS)
    engine = make_engine(
        settings.database_url,
        pool_size=CONNECTIONS,
        statement_seconds=settings.statement_seconds,
    )
    stack.callback(engine.dispose)
    # Of no person: for what the service does by itself.
    sessions = make_sessions(engine)
    celery = stack.enter_context(closing(wakeups.make_celery(settings.redis_url)))
    waker = stack.enter_context(closing(Waker(sessions, celery)))
    checker = stack.enter_context(closing(_make_checker(settings)))
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
        hide_private(make_sessions(engine)),
        hide_private(make_readers(sessions)),
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
        RequestRates(settings.requests_per_second, settings.requests_at_once),
        Places(settings.expensive_at_once),
        open_provider(settings),
    )


def _make_checker(settings: Settings) -> Checker:
    return Checker(
        limits=Limits(
            settings.check_seconds, settings.check_idle_seconds, settings.check_megabytes
        ),
        start_seconds=settings.check_start_seconds,
        wait_seconds=settings.check_wait_seconds,
        helpers=settings.check_helpers,
        places=settings.check_places,
        folder=settings.storage.root / "checks",
    )
