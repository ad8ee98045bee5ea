"""Two thousand hostile requests from one member, and how long a neighbour's `GET /jobs` takes meanwhile."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import httpx

from bench.harness.api import serve
from bench.harness.figures import Figure, Section, at_most
from bench.harness.hostile import Hostile, ask, hostile_requests, is_failure

#: Connections of the hostile member.
CONNECTIONS = 4
_ALONE = 100
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Answers:
    """What the hostile requests were answered: by status, those that failed, and the seconds of all."""

    statuses: Counter[str]
    failures: list[str]
    seconds: float


def measure_hostile(folder: Path, *, requests: int) -> Section:
    # Sent by a process of their own: the neighbour waits for the service, not for them.
    with (
        serve(folder) as (url, viewer, member),
        ProcessPoolExecutor(1, get_context("spawn")) as sender,
        _neighbour(url, viewer) as read,
    ):
        sender.submit(send_hostile, url, member, 0).result()
        alone = [read() for _ in range(_ALONE)]
        sending = sender.submit(send_hostile, url, member, requests)
        beside = [read()]
        while not sending.done():
            beside.append(read())
        answers = sending.result()
        jobs = len(_list_jobs(url, viewer))
    figures = [
        Figure("GET /jobs, alone: median", median(alone), "ms"),
        Figure("GET /jobs, beside them: median", median(beside), "ms"),
        Figure("beside them ÷ alone", median(beside) / median(alone), "", at_most(2)),
        Figure("hostile requests", requests / answers.seconds, "/s"),
        Figure("failures of the service", len(answers.failures), "", at_most(0)),
        Figure("jobs stored", jobs, "", at_most(0)),
    ]
    rounds = {
        "alone": alone,
        "beside": beside,
        "statuses": dict(answers.statuses),
        "failures": answers.failures,
    }
    return Section(f"{requests:,} hostile requests, and a neighbour", figures, rounds)


def send_hostile(url: str, token: str, requests: int) -> Answers:
    began = time.perf_counter()
    statuses: Counter[str] = Counter()
    failures: list[str] = []

    def send(one: Hostile) -> None:
        answer = ask(url, one)
        statuses[answer.split(b" ", 2)[1].decode() if answer else "none"] += 1
        if is_failure(one, answer):
            failures.append(one.name)

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(send, hostile_requests(requests, token)))
    return Answers(statuses, failures, time.perf_counter() - began)


@contextmanager
def _neighbour(url: str, token: str) -> Iterator[Callable[[], float]]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:

        def read() -> float:
            time.sleep(_PAUSE_SECONDS)
            began = time.perf_counter()
            client.get("/api/v1/jobs").raise_for_status()
            return 1000 * (time.perf_counter() - began)

        read()
        yield read


def _list_jobs(url: str, token: str) -> list[object]:
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{url}/api/v1/jobs", headers=headers, timeout=60, trust_env=False)
    items: list[object] = answer.raise_for_status().json()["items"]
    return items
