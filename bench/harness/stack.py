"""A local stack of Normlab for a measurement: a home and ports of its own, started as a person starts it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

FINAL = ("succeeded", "failed", "cancelled", "partial")
_REQUEST_SECONDS = 120.0
_MLFLOW_LOOK_SECONDS = 0.5
#: Long after any mirror should have caught up.
_MLFLOW_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Stack:
    """Nothing of it runs until `up`."""

    home: Path
    environment: Mapping[str, str]

    def command(self, *arguments: str) -> str:
        """What `normlab` prints; raises RuntimeError where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "normlab", *arguments],
            check=False, capture_output=True, text=True, env=self.environment,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"normlab {' '.join(arguments)} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def up(self) -> None:
        self.command("up", "--detach")

    def down(self) -> None:
        self.command("down")

    @contextmanager
    def running(self) -> Iterator["Service"]:
        self.up()
        try:
            with self.connect() as service:
                yield service
        finally:
            self.down()

    @contextmanager
    def connect(self) -> Iterator["Service"]:
        token = (self.home / "token").read_text().strip()
        api, mlflow = self.environment["NORMLAB_API_PORT"], self.environment["NORMLAB_MLFLOW_PORT"]
        with (
            httpx.Client(
                base_url=f"http://127.0.0.1:{api}/api/v1/",
                headers={"Authorization": f"Bearer {token}"},
                timeout=_REQUEST_SECONDS,
                trust_env=False,
            ) as to_api,
            httpx.Client(
                base_url=f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/",
                headers={"Authorization": f"Bearer {token}"},
                timeout=_REQUEST_SECONDS,
                trust_env=False,
            ) as to_mlflow,
        ):
            yield Service(to_api, to_mlflow)


@dataclass(frozen=True, slots=True)
class Service:
    """A running stack, as its administrator."""

    api: httpx.Client
    mlflow: httpx.Client

    def get(self, path: str, **parameters: Any) -> Any:
        return self.api.get(path, params=parameters).raise_for_status().json()

    def post(self, path: str, document: Any) -> Any:
        answer = self.api.post(path, json=document)
        if answer.is_error:
            raise RuntimeError(f"POST {path} was answered {answer.status_code}: {answer.text}")
        return answer.json()

    def wait(self, path: str, pause_seconds: float) -> Any:
        """The job or study once its status is final; it is asked for rarely, since each answer costs CPU."""
        while (row := self.get(path))["status"] not in FINAL:
            time.sleep(pause_seconds)
        return row

    def jobs_of(self, study: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next_cursor": None}
        while not rows or page["next_cursor"]:
            cursor = {"cursor": page["next_cursor"]} if rows else {}
            page = self.get("jobs", study=study, limit=500, **cursor)
            rows += page["items"]
        return rows

    def finished_runs(self, project: str, job: int | None = None) -> list[dict[str, Any]]:
        """Of at most 1,000 jobs, in MLflow: `job`, its metrics as name → (step, value), and whether its model was exported.
        `job`: of this one alone."""
        named = {"filter": f"name = '{project}'"}
        ids = [row["experiment_id"] for row in self._search("experiments", named)]
        if not ids:
            return []
        own = "" if job is None else f" AND tags.`normlab.job` = '{job}'"
        query = {"experiment_ids": ids, "filter": f"status = 'FINISHED'{own}"}
        return [
            {
                "job": int(tags["normlab.job"]),
                "metrics": {
                    row["key"]: (int(row["step"]), row["value"]) for row in run["data"]["metrics"]
                },
                "has_model": "normlab.model" in tags,
            }
            for run in self._search("runs", query)
            if "normlab.job" in (tags := {row["key"]: row["value"] for row in run["data"]["tags"]})
        ]

    def _search(self, kind: str, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self.mlflow.post(f"{kind}/search", json={"max_results": 1000, **query})
        rows: list[dict[str, Any]] = answer.raise_for_status().json().get(kind, [])
        return rows


def wait_for_mlflow(service: Service, project: str, jobs: Sequence[Mapping[str, Any]]) -> float:
    """The time at which every job had a finished run with its last epoch and its test result."""
    deadline = time.monotonic() + _MLFLOW_PATIENCE_SECONDS
    epochs = {job["id"]: int(job["metrics"]["epochs"]) for job in jobs}
    # A look at hundreds of runs takes MLflow as long as to write some: until it has the job that ended last, there
    # are looks at that one only.
    last = max(jobs, key=lambda job: to_timestamp(job["finished_at"]))["id"]
    complete = 0
    while time.monotonic() < deadline:
        if not complete and not service.finished_runs(project, last):
            time.sleep(_MLFLOW_LOOK_SECONDS)
            continue
        runs = {run["job"]: run["metrics"] for run in service.finished_runs(project)}
        complete = sum(_is_complete(runs.get(job, {}), count) for job, count in epochs.items())
        if complete == len(jobs):
            return time.time()
        time.sleep(_MLFLOW_LOOK_SECONDS)
    raise RuntimeError(
        f"MLflow had {complete} of {len(jobs)} results {_MLFLOW_PATIENCE_SECONDS:.0f} s after the last job"
    )


def _is_complete(metrics: Mapping[str, tuple[int, float]], epochs: int) -> bool:
    return metrics.get("val/loss", (0, 0.0))[0] == epochs and "test/accuracy" in metrics


def to_timestamp(text: str) -> float:
    """Of a time in an answer of the API."""
    return datetime.fromisoformat(text).timestamp()


def make_stack(home: Path, **settings: str) -> Stack:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("NORMLAB_")}
    ports = {"NORMLAB_API_PORT": str(free_port()), "NORMLAB_MLFLOW_PORT": str(free_port())}
    return Stack(home, {**inherited, **ports, **settings, "NORMLAB_HOME": str(home)})


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port: int = unused.getsockname()[1]
    return port
