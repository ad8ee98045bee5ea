"""Who gets how much of the machines: the real acquisition on PostgreSQL, while the work only takes simulated time.

`python -m bench.fairness --people ada=300 bob=30 eve=30 --plot fairness.svg` shows people's shares over time.
"""

import argparse
import heapq
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func, update
from sqlalchemy.orm import Session, sessionmaker

from bench.harness.database import make_database
from bench.harness.simulated_clock import set_clock, simulated_clock
from store.accounts import users
from store.catalog import datasets
from store.db import Job, User
from store.db.engine import make_sessions
from store.jobs import commands, leases
from store.jobs.commands import NewJob
from trainer.spec import JobSpec, Numerics

HOST = "simulated"
#: Noon: a simulation of some hours has no midnight in it.
START = 1_800_014_400.0
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody submits jobs of one priority that take so many seconds each, give or take a half."""

    at: float
    person: str
    jobs: int
    seconds: float
    priority: str = "normal"


@dataclass(frozen=True, slots=True)
class Run:
    """One job, in seconds since the beginning."""

    person: str
    priority: str
    queued: float
    start: float
    end: float


class Simulation:
    """A host with so many slots, on which what arrives is acquired, runs for its time and ends."""

    def __init__(
        self, engine: Engine, slots: int, *, weights: Mapping[str, float] | None = None
    ) -> None:
        self._sessions = make_sessions(engine)
        self._weights = weights or {}
        self._people: dict[str, User] = {}
        self._jobs: dict[int, Arrival] = {}
        self._running: list[tuple[float, int, int, float]] = []
        self._draw = random.Random(0)  # noqa: S311
        self._now = 0.0
        self.runs: list[Run] = []
        with self._sessions.begin() as session:
            leases.register_worker(session, HOST, 1, [("cpu", 0, "simulated", slots)])

    def run(self, arrivals: Iterable[Arrival], until: float) -> Sequence[Run]:
        """The jobs that have started by then; those that have not ended are cut off there."""
        coming = sorted(arrivals, key=lambda one: one.at, reverse=True)
        while True:
            nexts = [*(one.at for one in coming[-1:]), *(one[0] for one in self._running[:1])]
            if not nexts or min(nexts) > until:
                break
            self._now = min(nexts)
            while self._running and self._running[0][0] <= self._now:
                self._end(*heapq.heappop(self._running))
            while coming and coming[-1].at <= self._now:
                self._submit(coming.pop())
            self._fill()
        for _, job_id, _, start in self._running:
            self._note(job_id, start, until)
        return self.runs

    def _submit(self, arrival: Arrival) -> None:
        with self._begin() as session:
            owner = self._people.get(arrival.person) or self._make_person(session, arrival.person)
            spec = make_spec(arrival.priority)
            new = [NewJob(spec=spec, name=arrival.person)] * arrival.jobs
            made = commands.create(session, owner, "simulated", find_digits(session), new)
            ids = [job.id for job in made]
            # The column fills itself with the real time.
            session.execute(
                update(Job).where(Job.id.in_(ids)).values(queued_at=func.clock_timestamp())
            )
        self._jobs |= dict.fromkeys(ids, arrival)

    def _make_person(self, session: Session, name: str) -> User:
        user = users.create_user(session, name, "admin")
        users.set_weight(session, user, self._weights.get(name, 1.0))
        self._people[name] = user
        return user

    def _fill(self) -> None:
        while True:
            with self._begin() as session:
                assignment = acquire(session, 1)
            if assignment is None:
                return
            job_id, attempt = assignment
            seconds = self._jobs[job_id].seconds * self._draw.uniform(0.5, 1.5)
            heapq.heappush(self._running, (self._now + seconds, job_id, attempt, self._now))

    def _end(self, end: float, job_id: int, attempt: int, start: float) -> None:
        with self._begin() as session:
            commands.finish(session, job_id, attempt, reason="completed", seconds_used=end - start)
        self._note(job_id, start, end)

    def _note(self, job_id: int, start: float, end: float) -> None:
        arrival = self._jobs[job_id]
        self.runs.append(Run(arrival.person, arrival.priority, arrival.at, start, end))

    def _begin(self) -> "_Moment":
        return _Moment(self._sessions, self._now)


class _Moment:
    """A transaction at a simulated time."""

    def __init__(self, sessions: sessionmaker[Session], now: float) -> None:
        self._transaction = sessions.begin()
        self._now = now

    def __enter__(self) -> Session:
        session = self._transaction.__enter__()
        set_clock(session, START + self._now)
        return session

    def __exit__(self, *error: object) -> None:
        self._transaction.__exit__(*error)  # type: ignore[arg-type]


def device_seconds(runs: Sequence[Run], until: float) -> Mapping[str, float]:
    """What each person has used by then."""
    used: dict[str, float] = defaultdict(float)
    for run in runs:
        used[run.person] += max(0.0, min(run.end, until) - run.start)
    return used


def acquire(session: Session, process: int) -> tuple[int, int] | None:
    """The job and its attempt."""
    assignment = commands.acquire(
        session, HOST, process, lease_seconds=1e6, numerics=lambda device: Numerics()
    )
    return (
        (assignment.job_id, assignment.attempt)
        if isinstance(assignment, commands.Assignment)
        else None
    )


def make_spec(priority: str) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": {"name": "mlp", "hidden": [8]},
            "norm": {"kind": "none"},
            "training": {"epochs": 1},
            "resources": {"priority": priority},
        }
    )


def find_digits(session: Session) -> datasets.Dataset:
    dataset = datasets.find(session, "digits")
    assert dataset is not None
    return dataset


def draw(runs: Sequence[Run], until: float, path: Path) -> None:
    """Each person's share of the device time of the last hour, over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    people = sorted({run.person for run in runs})
    moments = [until * step / 200 for step in range(1, 201)]
    shares: dict[str, list[float]] = {name: [] for name in people}
    for moment in moments:
        before = device_seconds(runs, max(0.0, moment - HOUR))
        now = device_seconds(runs, moment)
        used = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in people}
        total = sum(used.values()) or 1.0
        for name in people:
            shares[name].append(used[name] / total)
    figure, axes = pyplot.subplots(figsize=(8, 4))
    axes.stackplot([moment / HOUR for moment in moments], *shares.values(), labels=people)
    axes.set(xlabel="hours", ylabel="share of the last hour's device time", ylim=(0, 1))
    axes.legend(loc="upper right")
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--people", nargs="+", default=["ada=300", "bob=30", "eve=30"], metavar="NAME=JOBS",
                        help="all submitted at the beginning, the first person's first (%(default)s)")  # fmt: skip
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=WEIGHT")
    parser.add_argument("--slots", type=int, default=4, help="(%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of a job, give or take a half (%(default)s)"
    )
    parser.add_argument(
        "--hours", type=float, default=24.0, help="that are simulated (%(default)s)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg, .png or .pdf")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder,
        make_database(Path(folder)) as (server, _),
    ):
        _show_shares(server.url("bench"), options)


def _show_shares(url: str, options: argparse.Namespace) -> None:
    counts = {name: int(count) for name, count in (one.split("=") for one in options.people)}
    weights = {name: float(weight) for name, weight in (one.split("=") for one in options.weights)}
    arrivals = [Arrival(0.0, name, count, 60 * options.minutes) for name, count in counts.items()]
    until = HOUR * options.hours
    with simulated_clock(url, START) as engine:
        runs = Simulation(engine, options.slots, weights=weights).run(arrivals, until)
    # Whoever has nothing left to start takes no part in the competition any more.
    last = {name: max(run.start for run in runs if run.person == name) for name in counts}
    together = min(last.values())
    used = device_seconds(runs, together)
    total = sum(used.values())
    print(f"while all wait, the first {together / HOUR:.1f} hours:")
    for name in counts:
        print(f"  {name}: {used[name] / HOUR:.1f} device-hours, {used[name] / total:.1%}")
    if options.plot:
        draw(runs, until, options.plot)


if __name__ == "__main__":
    main()
