"""Open pages that follow changes: when each hears of one, and what they cost the API's process."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

import psutil
from sqlalchemy.orm import Session, sessionmaker

from bench.harness.api import serve
from bench.harness.figures import Figure, Section, at_most
from bench.harness.progress import say
from store.db import make_engine, make_sessions, notify
from store.db.engine import JOBS_CHANNEL

#: Changes are so far apart that none is told together with another.
PAUSE_SECONDS = 0.5
#: Until those that were told or opened have settled.
SETTLE_SECONDS = 2.0
#: Listeners that come and go before anything is measured.
FIRST = 10
#: Times that all listeners leave and come back.
RETURNS = 3
_MEGABYTE, _MILLISECONDS = 10**6, 1000.0


@dataclass(slots=True)
class Listener:
    """When it heard of each change, by the change's number."""

    heard: dict[int, float] = field(default_factory=dict)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, url: str, token: str) -> None:
        """A bare reader: a client's library would take more time than the service."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        request = (
            f"GET /events HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        writer.write(request.encode())
        try:
            while line := await reader.readline():
                if line.startswith(b"data: "):
                    now = time.monotonic()
                    # At first it hears that anything may have changed.
                    jobs = json.loads(line.removeprefix(b"data: ")) or ()
                    self.is_open.set()
                    self.heard.update(dict.fromkeys(jobs, now))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@dataclass(frozen=True, slots=True)
class Cost:
    """Delays in seconds from a commit to each listener; resident bytes of the process before there were listeners, with
    them, after all changes, and after all of them had left and come back some times; CPU seconds of a change."""

    delays: Sequence[float]
    before: int
    listening: int
    told: int
    returned: int
    cpu_seconds: float
    lost: int


def measure_listeners(folder: Path, *, listeners: int, changes: int) -> Section:
    """Of one process that does nothing else."""
    with serve(folder) as (url, viewer, _):
        process = _find_api()
        engine = make_engine(_database_of(process))
        try:
            cost = asyncio.run(
                _measure(url, viewer, process, make_sessions(engine), listeners, changes)
            )
        finally:
            engine.dispose()
    delays = [_MILLISECONDS * one for one in cost.delays]
    figures = [
        Figure("commit to listener: median", median(delays), "ms"),
        Figure("commit to listener: 99 %", quantiles(delays, n=100)[-1], "ms", at_most(250)),
        Figure("commit to listener: slowest", max(delays), "ms"),
        Figure("changes that a listener missed", cost.lost, "", at_most(0)),
        Figure("CPU of a change, all told", _MILLISECONDS * cost.cpu_seconds, "ms"),
        Figure("process without listeners", cost.before / _MEGABYTE, "MB"),
        Figure("memory of a listener", (cost.listening - cost.before) / listeners / 1000, "kB"),
        Figure(f"growth over {changes} changes", (cost.told - cost.listening) / _MEGABYTE, "MB"),
        Figure(
            f"growth after {RETURNS} times away and back",
            (cost.returned - cost.told) / _MEGABYTE,
            "MB",
        ),
    ]
    return Section(f"{listeners} open pages that follow changes", figures, {"delays": delays})


def _find_api() -> psutil.Process:
    [process] = [
        one
        for one in psutil.Process().children(recursive=True)
        if "api.app:make_app" in one.cmdline()
    ]
    return process


def _database_of(process: psutil.Process) -> str:
    return str(process.environ()["NORMLAB_DATABASE_URL"])


async def _measure(
    url: str,
    token: str,
    process: psutil.Process,
    sessions: sessionmaker[Session],
    count: int,
    changes: int,
) -> Cost:
    # What is loaded with the first requests, and the threads that answer, are not a listener's.
    async with _listening(url, token, FIRST):
        pass
    before = await _settle(process)
    async with _listening(url, token, count) as listeners:
        say(f"listeners: {count} are open")
        listening = await _settle(process)
        used = _cpu_seconds(process)
        committed = await _announce(sessions, changes)
        told, used = await _settle(process), _cpu_seconds(process) - used
    for _ in range(RETURNS):
        async with _listening(url, token, count):
            returned = await _settle(process)
    delays = [
        one.heard[number] - at
        for number, at in committed.items()
        for one in listeners
        if number in one.heard
    ]
    return Cost(
        delays,
        before,
        listening,
        told,
        returned,
        used / changes,
        count * changes - len(delays),
    )


@asynccontextmanager
async def _listening(url: str, token: str, count: int) -> AsyncIterator[Sequence[Listener]]:
    """All of them are open inside."""
    listeners = [Listener() for _ in range(count)]
    tasks = [asyncio.create_task(one.follow(url, token)) for one in listeners]
    try:
        async with asyncio.timeout(120):
            for one in listeners:
                await one.is_open.wait()
        yield listeners
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _settle(process: psutil.Process) -> int:
    """Its resident bytes afterwards."""
    await asyncio.sleep(SETTLE_SECONDS)
    return int(process.memory_info().rss)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _announce(sessions: sessionmaker[Session], count: int) -> dict[int, float]:
    """By number when each was committed."""
    committed = {}
    for number in range(1, count + 1):
        committed[number] = await asyncio.to_thread(_commit, sessions, number)
        await asyncio.sleep(PAUSE_SECONDS)
    return committed


def _commit(sessions: sessionmaker[Session], number: int) -> float:
    with sessions.begin() as session:
        notify(session, JOBS_CHANNEL, str(number))
        # Before it is committed: what the commit itself takes is part of the delay.
        return time.monotonic()
