"""Two thousand hostile requests from one member, and how long a neighbour's `GET /jobs` takes beside them and alone, by turns."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
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
#: Of the neighbour, before and after the hostile requests of each round.
_ALONE = 25
#: Hostile requests of a round.
_AT_A_TIME = 250
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Answers:
    """What hostile requests were answered: by status, those that failed, and the seconds of all."""

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
        sender.submit(send_hostile, url, member, 0, 0).result()
        rounds = [
            _measure_round(url, member, sender, read, number)
            for number in range(requests // _AT_A_TIME)
        ]
        jobs = len(_list_jobs(url, viewer))
    return _describe(rounds, jobs)


@dataclass(frozen=True, slots=True)
class _Round:
    """The neighbour's milliseconds without and with the hostile requests, and what those were answered."""

    alone: list[float]
    beside: list[float]
    answers: Answers

    @property
    def ratio(self) -> float:
        return median(self.beside) / median(self.alone)


def _measure_round(
    url: str, member: str, sender: Executor, read: Callable[[], float], number: int
) -> _Round:
    alone = [read() for _ in range(_ALONE)]
    sending = sender.submit(send_hostile, url, member, _AT_A_TIME, number)
    beside = [read()]
    while not sending.done():
        beside.append(read())
    answers = sending.result()
    return _Round(alone + [read() for _ in range(_ALONE)], beside, answers)


def _describe(rounds: Sequence[_Round], jobs: int) -> Section:
    failures = [name for one in rounds for name in one.answers.failures]
    statuses = sum((one.answers.statuses for one in rounds), Counter[str]())
    count, seconds = statuses.total(), sum(one.answers.seconds for one in rounds)
    figures = [
        Figure("GET /jobs, alone: median", median(median(one.alone) for one in rounds), "ms"),
        Figure(
            "GET /jobs, beside them: median", median(median(one.beside) for one in rounds), "ms"
        ),
        Figure("beside them ÷ alone", median(one.ratio for one in rounds), "", at_most(2)),
        Figure("hostile requests", count / seconds, "/s"),
        Figure("failures of the service", len(failures), "", at_most(0)),
        Figure("jobs stored", jobs, "", at_most(0)),
    ]
    measured = {
        "alone": [one.alone for one in rounds],
        "beside": [one.beside for one in rounds],
        "statuses": dict(statuses),
        "failures": failures,
    }
    return Section(f"{count:,} hostile requests, and a neighbour", figures, measured)


def send_hostile(url: str, token: str, requests: int, seed: int) -> Answers:
    began = time.perf_counter()
    statuses: Counter[str] = Counter()
    failures: list[str] = []

    def send(hostile: Hostile) -> None:
        answer = ask(url, hostile)
        statuses[answer.split(b" ", 2)[1].decode() if answer else "none"] += 1
        if is_failure(hostile, answer):
            failures.append(hostile.name)

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(send, hostile_requests(requests, token, seed)))
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
