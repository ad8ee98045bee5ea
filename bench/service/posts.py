"""How fast a running API accepts work: `POST /jobs` at many connections, and one large study planned and created."""

import http.client
import itertools
import json
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

CONNECTIONS = 32
#: Of one request: a plan may wait for its checks.
PATIENCE_SECONDS = 60.0

_JOB: Mapping[str, Any] = {
    "project": "bench-posts",
    "dataset": {"name": "digits"},
    "model": {"name": "cnn", "width": 8},
    "norm": {"kind": "batch"},
    "optimizer": {"kind": "sgd"},
    "training": {"epochs": 1},
}
_NORMS = ("none", "batch", "layer", "instance")


@dataclass(frozen=True, slots=True)
class PostCost:
    """Accepted jobs per second and their latency, and the seconds of a study of 1,000 cells in 100 arms."""

    connections: int
    accepted: int
    per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    cells: int
    plan_seconds: float
    create_seconds: float


def measure_posts(
    url: str, token: str, *, seconds: float, connections: int = CONNECTIONS
) -> PostCost:
    """The jobs and the study stay in the service; no worker should run beside it. Raises RuntimeError for an
    answer that is no success."""
    study = make_study()
    with closing(_Client(url, token)) as client:
        plan_seconds, plan = client.post("/api/v1/plans", study)
        create_seconds, _ = client.post("/api/v1/studies", study)
        client.post("/api/v1/jobs", _JOB)
    began = time.perf_counter()
    latencies = _post_jobs(url, token, began + seconds, connections)
    took = time.perf_counter() - began
    cuts = quantiles(latencies, n=100)
    return PostCost(
        connections=connections,
        accepted=len(latencies),
        per_second=len(latencies) / took,
        p50_milliseconds=1000 * cuts[49],
        p99_milliseconds=1000 * cuts[98],
        cells=plan["count"],
        plan_seconds=plan_seconds,
        create_seconds=create_seconds,
    )


def make_study() -> dict[str, Any]:
    """1,000 cells: 4 norms × 5 learning rates × 5 batch sizes × 10 seeds. No two calls give the same, so no answer
    is in a cache."""
    # The number of epochs is checked with the rest, and costs nothing: it makes the specs unlike earlier ones.
    epochs = 2 + uuid.uuid4().int % 90_000
    return {
        "project": "bench-posts",
        "name": f"a thousand cells {epochs}",
        "base": {**_without(_JOB, "project", "norm"), "training": {"epochs": epochs}},
        "variants": {kind: {"norm": {"kind": kind}} for kind in _NORMS},
        "matrix": {
            "optimizer.lr": [0.01, 0.02, 0.05, 0.1, 0.2],
            "training.batch_size": [16, 32, 48, 64, 128],
        },
        "seeds": 10,
    }


def _without(document: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def _post_jobs(url: str, token: str, until: float, connections: int) -> list[float]:
    """Seconds of each request."""
    latencies: list[float] = []
    errors: list[Exception] = []
    seeds = itertools.count()

    def post() -> None:
        try:
            with closing(_Client(url, token)) as client:
                while time.perf_counter() < until and not errors:
                    took, _ = client.post("/api/v1/jobs", {**_JOB, "seed": next(seeds)})
                    latencies.append(took)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=post) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return latencies


class _Client:
    """One connection that is kept: `http.client`, because httpx would take as much of a core as the API itself."""

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        assert address.hostname
        self._connection = http.client.HTTPConnection(
            address.hostname, address.port, timeout=PATIENCE_SECONDS
        )
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, path: str, document: Mapping[str, Any]) -> tuple[float, Any]:
        """The seconds until the whole answer was read, and the answer; repeated while checks aren't done."""
        body = json.dumps(document)
        # As Normlab's client does.
        headers = {**self._headers, "Idempotency-Key": str(uuid.uuid4())}
        began = time.perf_counter()
        while (
            response := self._send(path, body, headers)
        ).status == HTTPStatus.SERVICE_UNAVAILABLE:
            response.read()
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise RuntimeError(f"{path} was not answered within {PATIENCE_SECONDS:g} seconds")
            time.sleep(float(response.headers.get("Retry-After", "1")))
        content = response.read()
        took = time.perf_counter() - began
        if response.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            raise RuntimeError(f"{path} was answered {response.status}: {content[:500]!r}")
        return took, json.loads(content)

    def _send(self, path: str, body: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        self._connection.request("POST", path, body, headers)
        return self._connection.getresponse()

    def close(self) -> None:
        self._connection.close()
