"""Whether a host may acquire jobs: space on its disks; its clock compared with the database's, its libraries with ours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import metadata

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from store.db import Worker

#: A host whose disk ran full under a job takes no jobs for so long; twice as long each time, until a job
#: has completed there.
FIRST_HOLD_SECONDS = 30.0
LONGEST_HOLD_SECONDS = 3600.0
#: A worker that was not seen for so long gets no wake-ups.
SEEN_SECONDS = 20.0
#: A clock that differs by less is not reported.
CLOCK_SECONDS = 5.0
#: Their versions decide what comes out of a training.
LIBRARIES = ("torch", "torchvision", "timm", "numpy")


@dataclass(frozen=True, slots=True)
class Shortage:
    """A folder without enough space; `detail` is a sentence for users."""

    folder: str
    free_bytes: int
    needed_bytes: int
    detail: str


def report(
    session: Session,
    host: str,
    shortage: Shortage | None,
    clock_ahead_seconds: float,
    instance: str | None = None,
) -> bool:
    """Record that the host's worker is alive, and its state; True if it had too little space before and has it now.

    A hold is kept. Nothing changes where another instance is the host's worker now.
    """
    row = session.scalars(
        select(Worker)
        .where(*_is_of(host, instance))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return False
    # A hold runs out by itself: the shortage may be the same job's, whose partial file is gone by now.
    has_room_again = row.shortage is not None and shortage is None
    row.shortage = None if shortage is None else asdict(shortage)
    row.clock_ahead_seconds = clock_ahead_seconds
    row.seen_at = func.clock_timestamp()
    session.flush()
    return has_room_again


def report_shortage(
    session: Session, host: str, shortage: Shortage, instance: str | None = None
) -> None:
    """The host takes no jobs until a `report` without a shortage.

    Nothing changes where another instance is the host's worker now.
    """
    session.execute(update(Worker).where(*_is_of(host, instance)).values(shortage=asdict(shortage)))


def hold(session: Session, host: str, instance: str | None = None) -> None:
    """The disk ran full under one of the host's jobs: other hosts get the next jobs for a while.

    Nothing changes where another instance is the host's worker now.
    """
    seconds = func.least(
        LONGEST_HOLD_SECONDS,
        FIRST_HOLD_SECONDS * func.power(2.0, func.least(Worker.disk_failures, 20)),
    )
    session.execute(
        update(Worker)
        .where(*_is_of(host, instance))
        .values(
            disk_failures=Worker.disk_failures + 1,
            held_until=func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds),
        )
    )


def forgive(session: Session, host: str, instance: str | None = None) -> None:
    """A job has completed there: the host's next failure counts as its first.

    Nothing changes where another instance is the host's worker now.
    """
    session.execute(
        update(Worker)
        .where(*_is_of(host, instance), Worker.disk_failures > 0)
        .values(disk_failures=0)
    )


def _is_of(host: str, instance: str | None) -> Sequence[ColumnElement[bool]]:
    return Worker.host == host, Worker.instance.is_not_distinct_from(instance)


def seen_lately() -> ColumnElement[bool]:
    return Worker.seen_at > func.clock_timestamp() - timedelta(seconds=SEEN_SECONDS)


def may_acquire() -> ColumnElement[bool]:
    """Not draining and not held; a host checks for itself whether it has enough space."""
    is_free = or_(Worker.held_until.is_(None), Worker.held_until <= func.clock_timestamp())
    return and_(Worker.draining.is_(False), is_free)


def is_held(session: Session, host: str) -> bool:
    """Whether the host's worker, draining or after a full disk, gets no job whatever is queued."""
    return not session.scalar(select(may_acquire()).where(Worker.host == host))


def is_worth_waking() -> ColumnElement[bool]:
    return and_(may_acquire(), Worker.shortage.is_(None))


def is_off(clock_ahead_seconds: float | None) -> bool:
    return abs(clock_ahead_seconds or 0.0) >= CLOCK_SECONDS


def problems(worker: Worker, now: datetime) -> Sequence[str]:
    """What keeps the host from taking jobs and what is wrong with it, a sentence each."""
    sentences = []
    if worker.shortage is not None:
        sentences.append(f"takes no jobs: {worker.shortage['detail']}")
    elif worker.held_until is not None and worker.held_until > now:
        times = "once" if worker.disk_failures == 1 else f"{worker.disk_failures} times in a row"
        seconds = (worker.held_until - now) / timedelta(seconds=1)
        sentences.append(
            f"takes no jobs for {seconds:.0f} more seconds: its disk ran full under a job {times}"
        )
    if is_off(worker.clock_ahead_seconds):
        sentences.append(clock_sentence(worker.clock_ahead_seconds or 0.0))
    if sentence := _library_sentence(versions(worker)):
        sentences.append(sentence)
    return sentences


def versions(worker: Worker) -> Mapping[str, str]:
    """Of the libraries that the host trains with, as its worker has said at its start."""
    environment = worker.offers[0]["environment"] if worker.offers else {}
    return {name: environment[name] for name in LIBRARIES if name in environment}


@cache
def own_versions() -> Mapping[str, str]:
    """Of the process that asks: the service's."""
    return {name: metadata.version(name) for name in LIBRARIES}


def _library_sentence(theirs: Mapping[str, str]) -> str | None:
    # Without what follows a plus sign: for which device torch was built.
    plain = {name: version.partition("+")[0] for name, version in theirs.items()}
    ours = {name: version.partition("+")[0] for name, version in own_versions().items()}
    others = [
        f"{name} {version} (the service has {ours[name]})"
        for name, version in plain.items()
        if version != ours[name]
    ]
    if not others:
        return None
    return (
        f"it has other libraries: {', '.join(others)}; its results may differ from other hosts' in the last digits: "
        "install the versions of constraints.txt there"
    )


def clock_sentence(ahead_seconds: float) -> str:
    direction = "ahead of" if ahead_seconds > 0 else "behind"
    return (
        f"its clock is {abs(ahead_seconds):.0f} s {direction} the database's: "
        "the times in its log are wrong; set it right (NTP)"
    )
