"""Real workers that compete for the same jobs on PostgreSQL, and what must never happen meanwhile: a job claimed twice,
more slots held than there are, a limit exceeded. `python -m bench.competition --claims 2000 --workers 16`.
"""

import argparse
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from bench.fairness import HOST, acquire, find_digits, make_spec
from bench.harness.database import make_database
from store.accounts import users
from store.db import Device, Job, Lease, User
from store.db.engine import make_engine, make_sessions
from store.jobs import commands, leases, limits
from store.jobs.commands import NewJob


@dataclass(frozen=True, slots=True)
class Competition:
    """What workers that compete for the same jobs have done; `most_running`: of each person at one moment."""

    claims: Counter[int]
    most_held: int
    most_running: Mapping[str, int]
    seconds: float


def compete(
    url: str,
    *,
    workers: int,
    slots: int,
    jobs: Mapping[str, int],
    running: Mapping[str, int],
    work_seconds: float = 0.5,
) -> Competition:
    """Real workers, one thread each, claim jobs of these people, hold them for about `work_seconds` and end them, until
    none is left; `running`: their limits."""
    engine = make_engine(url, pool_size=workers)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        leases.register_worker(session, HOST, 1, [("cpu", 0, "simulated", slots)])
        for name, count in jobs.items():
            owner = users.create_user(session, name, "member")
            limits.change(session, owner, {"running": running.get(name)})
            new = [NewJob(spec=make_spec("normal"), name=name)] * count
            commands.create(session, owner, "simulated", find_digits(session), new)
    notes: list[tuple[int, int, Mapping[str, int]]] = []
    left = [sum(jobs.values())]
    began = time.monotonic()
    with ThreadPoolExecutor(workers) as threads:
        working = [
            threads.submit(_work, sessions, number, work_seconds, notes, left)
            for number in range(workers)
        ]
        for one in as_completed(working):
            if one.exception() is not None:
                # The job that it held is never done: the others would wait for it for ever.
                left[0] = 0
    for one in working:
        one.result()
    seconds = time.monotonic() - began
    engine.dispose()
    most: dict[str, int] = defaultdict(int)
    for _, _, counts in notes:
        for name, count in counts.items():
            most[name] = max(most[name], count)
    return Competition(
        Counter(job_id for job_id, _, _ in notes), max(held for _, held, _ in notes), most, seconds
    )


def _work(
    sessions: sessionmaker[Session],
    number: int,
    work_seconds: float,
    notes: list[tuple[int, int, Mapping[str, int]]],
    left: list[int],
) -> None:
    pause = random.Random(number)  # noqa: S311
    while left[0] > 0:
        with sessions.begin() as session:
            assignment = acquire(session, number)
            if assignment is not None:
                # Before the commit, which lets the next acquisition in: what all see from then on.
                notes.append((assignment[0], *_count_held(session)))
        if assignment is None:
            time.sleep(work_seconds / 10)
            continue
        # Long enough for the others to take what is free meanwhile.
        time.sleep(work_seconds * pause.uniform(0.5, 1.5))
        with sessions.begin() as session:
            commands.finish(session, *assignment, reason="completed")
        left[0] -= 1


def _count_held(session: Session) -> tuple[int, Mapping[str, int]]:
    """The slots that are held, and the running jobs of each person."""
    held = session.scalars(
        select(func.count()).select_from(Lease).join(Device).where(Device.host == HOST)
    ).one()
    query = select(User.name, func.count()).join(Job, Job.owner_id == User.id)
    rows = session.execute(query.where(Job.status == "running").group_by(User.name))
    return held, {name: count for name, count in rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.competition", description=__doc__)
    parser.add_argument("--claims", type=int, default=2000, help="jobs (%(default)s)")
    parser.add_argument("--workers", type=int, default=16, help="and as many slots (%(default)s)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder,
        make_database(Path(folder)) as (server, _),
    ):
        _show_competition(server.url("bench"), options.claims, options.workers)


def _show_competition(url: str, claims: int, workers: int) -> None:
    jobs = {"ada": claims - 2 * (claims // 4), "bob": claims // 4, "eve": claims // 4}
    found = compete(url, workers=workers, slots=workers, jobs=jobs, running={"ada": 5, "bob": 3})
    doubled = sum(count > 1 for count in found.claims.values())
    print(f"{workers} workers, {workers} slots, {claims} jobs in {found.seconds:.0f} s")
    print(
        f"  claimed: {len(found.claims)}, more than once: {doubled}; slots held at once: {found.most_held}"
    )
    print(f"  running at once (limits: ada 5, bob 3): {dict(found.most_running)}")


if __name__ == "__main__":
    main()
