"""Queries over the whole history through the API in this process, and MLflow's own for the same runs."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine, event, func, select

from api.app import make_app
from api.kept_results import SWITCH_SECONDS, KeptResults
from api.limits import Places, RequestRates
from api.processes import OneEach
from api.services import Services
from api.settings import Settings
from api.storage import StorageCheck, StorageSizes
from api.streams import Streams
from store.access import hide_private
from store.accounts import users
from store.accounts.users import Role
from store.db import Changes, Job, Project, make_engine, make_readers, make_sessions

#: Of one measurement; the first requests, which fill caches and prepare statements, are not counted.
REQUESTS = 30
_WARM_UP = 3
_SORTED = {"query": "norm.kind=batch", "sort": "-best.val_accuracy", "limit": 50}


@dataclass(frozen=True, slots=True)
class RouteTimes:
    """Milliseconds of a request, and the statements that it sends to PostgreSQL."""

    name: str
    p50: float
    p95: float
    statements: int


@dataclass(frozen=True, slots=True)
class QueryTimes:
    """All routes at one size of the history; `export_rows`: per second, of eight columns and of all."""

    jobs: int
    routes: Sequence[RouteTimes]
    export_rows: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MlflowTimes:
    """Milliseconds of MLflow's filtered and sorted search, and seconds of a group-by over all runs."""

    runs: int
    search_p50: float
    search_p95: float
    group_seconds: float


def measure_queries(url: str, *, requests: int = REQUESTS) -> QueryTimes:
    """Of the database that this URL names; it gets one user, `bench-viewer`."""
    engine = make_engine(url)
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_in_process(engine, url, Path(folder)) as client,
    ):
        job_id, study_id = find_newest(engine)
        with engine.connect() as connection:
            jobs = connection.scalar(select(func.count()).select_from(Job)) or 0
            project = connection.scalars(
                select(Project.name).join(Job, Job.project_id == Project.id).where(Job.id == job_id)
            ).one()
        routes = [
            measure_route(engine, client, name, path, parameters, requests)
            for name, (path, parameters) in _routes(job_id, study_id, project).items()
        ]
        exported = {
            "eight columns": _measure_export(client, columns=_COLUMNS),
            "all columns": _measure_export(client),
        }
    engine.dispose()
    return QueryTimes(jobs, routes, exported)


def find_newest(engine: Engine) -> tuple[int, int]:
    """The job of a study that succeeded last, and the study."""
    newest = select(Job.id, Job.study_id).where(Job.study_id.is_not(None))
    finished = newest.where(Job.status == "succeeded").order_by(Job.id.desc()).limit(1)
    with engine.connect() as connection:
        job_id, study_id = connection.execute(finished).one()
    return job_id, study_id


def measure_mlflow(
    tracking_uri: str, experiment_id: str, *, requests: int = REQUESTS
) -> MlflowTimes:
    """Of the mirrored runs of one experiment: a filtered and sorted page of `search_runs`, and a group-by of all of them in Python."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)

    def search() -> None:
        client.search_runs(
            [experiment_id],
            "params.`norm.kind` = 'batch'",
            order_by=["metrics.best_val_accuracy DESC"],
            max_results=50,
        )

    times = _times(search, requests)
    started = time.perf_counter()
    groups: dict[str | None, list[float]] = {}
    runs, token = 0, None
    while True:
        page = client.search_runs([experiment_id], max_results=5000, page_token=token)
        for run in page:
            value = run.data.metrics.get("best_val_accuracy")
            if value is not None:
                groups.setdefault(run.data.params.get("norm.kind"), []).append(value)
        runs, token = runs + len(page), page.token
        if not token:
            break
    {kind: (statistics.fmean(values), statistics.stdev(values)) for kind, values in groups.items()}
    return MlflowTimes(runs, *_percentiles(times), time.perf_counter() - started)


_COLUMNS = "job_id,study,variant,seed,norm.kind,optimizer.lr,best.val_accuracy,test.accuracy"


def _routes(
    job_id: int, study_id: int, project: str
) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """Path and parameters by name; those of whole pages begin in the middle of the history."""
    return {
        "results": ("results", {}),
        "results, filtered and sorted": ("results", _SORTED),
        "results, chosen columns": ("results", {**_SORTED, "columns": _COLUMNS}),
        "results, rising loss": ("results", {"sort": "best.val_loss"}),
        "results, by a rare field": (
            "results",
            {"query": "norm.groups=8", "sort": "-test.accuracy"},
        ),
        "groups of one study": ("results/groups", {"by": "norm.kind", "study": study_id}),
        "groups of one project": (
            "results/groups",
            {"by": "norm.kind,optimizer.lr", "project": project},
        ),
        "groups of all jobs": ("results/groups", {"by": "norm.kind"}),
        "leaderboard": ("leaderboard", {}),
        "leaderboard of one project": ("leaderboard", {"project": project}),
        "jobs": ("jobs", {}),
        "jobs of a project": ("jobs", {"project": project, "status": "succeeded"}),
        "queue": ("queue", {}),
        "studies": ("studies", {}),
        "jobs of a study": (f"studies/{study_id}/jobs", {}),
        "epochs": (f"jobs/{job_id}/epochs", {"limit": 100}),
    }


class InProcess:
    """Asks an application in this process, in one event loop: FastAPI's `TestClient` starts a thread and a loop for
    each request, which takes longer than most answers."""

    def __init__(self, app: FastAPI, headers: Mapping[str, str]) -> None:
        self.app = app
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://in-process", headers=headers
        )
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, **options: Any
    ) -> httpx.Response:
        return self._runner.run(self._client.get(path, params=params, **options))


@contextmanager
def serve_in_process(
    engine: Engine, url: str, storage: Path, role: Role = "viewer"
) -> Iterator["InProcess"]:
    """The API without what only submissions and drawings need: its lifespan would load torch in helpers."""
    settings = Settings(database_url=url, redis_url="redis://127.0.0.1:1/0", storage=storage)
    app = make_app(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    sessions = make_sessions(engine)
    absent: Any = None
    changes = Changes(engine)
    changes.start()
    app.state.services = Services(
        settings=settings,
        engine=engine,
        sessions=hide_private(make_sessions(engine)),
        readers=hide_private(make_readers(sessions)),
        all_readers=make_readers(sessions),
        checker=absent,
        render_queue=absent,
        intake=absent,
        waker=absent,
        storage=StorageCheck(sessions, settings.storage),
        changes=changes,
        streams=Streams(),
        kept_results=KeptResults(changes),
        kept_verdicts=KeptResults(changes),
        drafts=OneEach(),
        storage_sizes=StorageSizes(sessions, settings.storage),
        rates=RequestRates(0, 1),
        places=Places(settings.expensive_at_once),
        provider=None,
    )
    with sessions.begin() as session:
        name = f"bench-{role}"
        user = users.find(session, name) or users.create_user(session, name, role)
        _, secret = users.create_token(session, user, "bench")
    try:
        with InProcess(app, {"Authorization": f"Bearer {secret}"}) as client:
            yield client
    finally:
        for kept in (app.state.services.kept_results, app.state.services.kept_verdicts):
            kept.close()
        changes.close()


def measure_route(
    engine: Engine,
    client: InProcess,
    name: str,
    path: str,
    parameters: Mapping[str, Any],
    requests: int,
    prepare: Callable[[], None] = lambda: None,
) -> RouteTimes:
    """`prepare`: what is done before each request, not in its time."""
    statements: list[str] = []

    def ask() -> None:
        address = path if path.startswith("/") else f"/api/v1/{path}"
        answer = client.get(address, params=dict(parameters) or None)
        assert answer.status_code == 200, answer.text

    times = _times(ask, requests, prepare)

    def note(*details: Any) -> None:
        statements.append(details[2])

    prepare()
    event.listen(engine, "before_cursor_execute", note)
    ask()
    event.remove(engine, "before_cursor_execute", note)
    return RouteTimes(name, *_percentiles(times), len(statements))


def _measure_export(client: InProcess, **parameters: str) -> float:
    """Rows per second, of the whole history as JSON lines."""
    started = time.perf_counter()
    answer = client.get("/api/v1/results/export", params={**parameters, "format": "jsonl"})
    return answer.content.count(b"\n") / (time.perf_counter() - started)


def _times(
    work: Callable[[], None], requests: int, prepare: Callable[[], None] = lambda: None
) -> list[float]:
    """Milliseconds of each."""
    times = []
    for _ in range(_WARM_UP + requests):
        prepare()
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    return times[_WARM_UP:]


def _percentiles(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20, method="inclusive")[-1]
