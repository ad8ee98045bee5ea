"""`python -m bench.crowd`: one viewer plans giant models, and a neighbour plans a small one beside it.

Starts PostgreSQL, Redis and the API with its default settings. Each repeat measures the neighbour alone first,
then in the crowd; no plan is sent twice, so no answer comes from a cache.
"""

import argparse
import itertools
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.harness.api import serve

CROWD = 45
GIANTS = (
    "timm:vit_gigantic_patch14_224",
    "timm:swinv2_cr_giant_224",
    "timm:davit_giant",
    "timm:maxvit_xlarge_tf_224",
)
#: Measured in each repeat, alone and in the crowd.
PLANS = 5
#: The crowd is there before the neighbour comes.
HEAD_START_SECONDS = 1.0
#: The neighbour's patience with one plan, and that of a request.
PATIENCE_SECONDS = 60.0

#: To load the usual ones for each client would take the cores that are measured.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_numbers = itertools.count(16)


@dataclass(frozen=True, slots=True)
class CrowdCost:
    """Seconds of a neighbour's plans and of health checks, alone and in the crowd."""

    alone: tuple[float, ...]
    crowded: tuple[float, ...]
    health_alone: tuple[float, ...]
    health_crowded: tuple[float, ...]
    #: Statuses of what the crowd was answered.
    crowd: Counter[int]


def measure_crowd(folder: Path, *, repeats: int) -> CrowdCost:
    alone: list[float] = []
    crowded: list[float] = []
    nobody, crowd = Crowd(0), Crowd(CROWD)
    with serve(folder) as (url, viewer, neighbour):
        plan_small(url, neighbour)
        for _ in range(repeats):
            for around, seconds in ((nobody, alone), (crowd, crowded)):
                with around.crowding(url, viewer):
                    time.sleep(HEAD_START_SECONDS)
                    seconds += [plan_small(url, neighbour) for _ in range(PLANS)]
    return CrowdCost(
        tuple(alone), tuple(crowded), tuple(nobody.health), tuple(crowd.health), crowd.statuses
    )


@dataclass
class Crowd:
    """Clients of one person, each sending one giant after the other, and a watch over health."""

    clients: int
    statuses: Counter[int] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)

    @contextmanager
    def crowding(self, url: str, token: str) -> Iterator[None]:
        left = threading.Event()
        threads = [
            threading.Thread(target=self._send_giants, args=(url, token, left))
            for _ in range(self.clients)
        ]
        threads.append(threading.Thread(target=self._watch_health, args=(url, left)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            left.set()
            for thread in threads:
                thread.join()

    def _send_giants(self, url: str, token: str, left: threading.Event) -> None:
        with _client(url, token) as client:
            while not left.is_set():
                number = next(_numbers)
                model = {"name": GIANTS[number % len(GIANTS)]}
                spec = _spec(number, model, "layer", image_size=224)
                with suppress(httpx.TimeoutException):
                    answer = client.post("/api/v1/plans", json=spec)
                    self.statuses[answer.status_code] += 1
                    left.wait(float(answer.headers.get("Retry-After", 0)))

    def _watch_health(self, url: str, left: threading.Event) -> None:
        with _client(url) as client:
            for path in itertools.cycle(("/healthz", "/readyz")):
                if left.wait(0.1):
                    break
                began = time.perf_counter()
                with suppress(httpx.TimeoutException):
                    client.get(path)
                self.health.append(time.perf_counter() - began)


def plan_small(url: str, token: str) -> float:
    """Seconds until a small plan is answered, which no other plan equals; or the neighbour's patience."""
    with _client(url, token) as client:
        began = time.perf_counter()
        while True:
            spec = _spec(next(_numbers), {"name": "cnn", "width": 8}, "batch")
            with suppress(httpx.TimeoutException):
                answer = client.post("/api/v1/plans", json=spec)
                if answer.status_code != 503:
                    answer.raise_for_status()
                    break
                time.sleep(float(answer.headers["Retry-After"]))
            if time.perf_counter() - began > PATIENCE_SECONDS:
                break
    return time.perf_counter() - began


def _spec(number: int, model: dict[str, Any], norm: str, **dataset: Any) -> dict[str, Any]:
    """`number` makes it unlike any other; it costs nothing."""
    return {
        "dataset": {"name": "digits", **dataset},
        "model": model,
        "norm": {"kind": norm},
        "training": {"epochs": 1 + number // 1000, "batch_size": 16 + number % 1000},
    }


def _client(url: str, token: str = "") -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(
        base_url=url,
        headers=headers,
        timeout=PATIENCE_SECONDS,
        trust_env=False,
        verify=_NO_CERTIFICATES,
    )


def _describe(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    high = ordered[int(0.95 * (len(ordered) - 1))]
    return (
        f"median {1000 * median(ordered):.0f} ms, 95 % within {1000 * high:.0f} ms, "
        f"longest {1000 * ordered[-1]:.0f} ms ({len(ordered)} of them)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of the crowd (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder:
        cost = measure_crowd(Path(folder), repeats=options.repeats)
    print(f"{CROWD} plans of giant models at a time by one viewer, a small plan by a neighbour")
    print(f"  the neighbour's plan, alone:        {_describe(cost.alone)}")
    print(f"  the neighbour's plan, in the crowd: {_describe(cost.crowded)}")
    print(f"  ratio of the medians: {median(cost.crowded) / median(cost.alone):.2f}")
    print(f"  health, alone:        {_describe(cost.health_alone)}")
    print(f"  health, in the crowd: {_describe(cost.health_crowded)}")
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(cost.crowd.items()))
    print(f"  the crowd was answered {answers}")


if __name__ == "__main__":
    main()
