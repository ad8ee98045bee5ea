"""What Normlab's login costs a request to MLflow: the same searches with it and without, by turns."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine

from bench.harness.api import wait_until_ready
from bench.harness.database import make_database
from bench.harness.figures import Figure, Section, at_most
from bench.harness.mlflow_history import fill_mlflow
from bench.harness.stack import free_port
from normlab.stack.mlflow_server import server_command, server_environment
from store.accounts import users
from store.db import make_sessions

RUNS = 1000
_WARM_UP = 5
_MIRROR_TOKEN = "of the mirror, which this section has none of"  # noqa: S105
_WITH, _WITHOUT = "with the login", "without"
#: What a search of few and of many runs asks for.
_SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "search, 50 of 1,000 runs": {
        "filter": "params.`norm.kind` = 'batch'",
        "order_by": ["metrics.best_val_accuracy DESC"],
        "max_results": 50,
    },
    "search, one run": {"filter": "attributes.run_name = 'run 7'", "max_results": 1},
}


def measure_login(folder: Path, *, requests: int) -> Section:
    """Two servers on one database; the one without the login is MLflow's application alone."""
    with make_database(folder) as (server, engine), ExitStack() as stack:
        server.create_databases("mlflow")
        experiment = fill_mlflow(server.url("mlflow"), RUNS)
        environment = server_environment(
            server.url("mlflow"), access_url=server.url("bench"), mirror_token=_MIRROR_TOKEN
        )
        token = _make_token(engine)
        clients = {}
        for name in (_WITH, _WITHOUT):
            url = stack.enter_context(_serve(name, environment, folder))
            headers = {"Authorization": f"Bearer {token}"} if name == _WITH else {}
            client = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
            clients[name] = stack.enter_context(client)
        times = {
            search: _measure(clients, {"experiment_ids": [experiment], **body}, requests)
            for search, body in _SEARCHES.items()
        }
    return Section("MLflow behind Normlab's login", list(_figures(times)), times)


def _make_token(engine: Engine) -> str:
    with make_sessions(engine).begin() as session:
        user = users.create_user(session, "bench-viewer", "viewer")
        return users.create_token(session, user, "bench")[1]


@contextmanager
def _serve(name: str, environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    port = free_port()
    artifacts = folder / "artifacts"
    if name == _WITH:
        command, more = server_command(artifacts=artifacts, port=port), {}
    else:
        options = ["mlflow.server.fastapi_app:app", "--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "runtime.http_server", *options]
        # What `mlflow server` sets for its application.
        more = {
            "_MLFLOW_SERVER_FILE_STORE": environment["MLFLOW_BACKEND_STORE_URI"],
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
        }
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment, **more}, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(f"{url}/health", process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _measure(
    clients: Mapping[str, httpx.Client], body: Mapping[str, Any], requests: int
) -> dict[str, list[float]]:
    """Milliseconds of each request."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(_WARM_UP + requests):
        # The first of a pair finds colder caches than the second: they take turns.
        for name in sorted(clients, reverse=bool(number % 2)):
            started = time.perf_counter()
            clients[name].post("/api/2.0/mlflow/runs/search", json=dict(body)).raise_for_status()
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: some[_WARM_UP:] for name, some in times.items()}


def _figures(times: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Figure]:
    for search, by_server in times.items():
        median = {name: statistics.median(some) for name, some in by_server.items()}
        yield Figure(f"{search}: with the login", median[_WITH], "ms")
        yield Figure(
            f"{search}: with ÷ without", median[_WITH] / median[_WITHOUT], "", at_most(1.3)
        )
