"""A local stack that a test breaks, and the jobs of three people on it."""

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import httpx
import psutil
import redis
from sqlalchemy import ScalarSelect, func, select, update
from sqlalchemy.orm import Session

from normlab.home import Home
from normlab.stack.servers import make_servers
from store.db import DATABASE_AWAY, make_engine, make_sessions
from store.db.models import Attempt, Checkpoint, Epoch, Job, LogLine, Worker
from tests.support.faults.machine import Disk, NotMadeHere
from tests.support.faults.trainings import FEW_EPOCHS, PEOPLE, SEEDS, SPEC, TRIES, Scale
from tests.support.stack import Stack
from tests.support.waiting import wait_for

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """A request for a job. Sent again it is the same one."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt under way."""

    job: int
    attempt: int
    process: int


class Scene:
    """`jobs` are those of the test at hand, `all_jobs` all that were ever accepted.

    `expected`: status and reason of the jobs that shall not succeed. `epochs`: of a training whose spec names none. `disk`: where jobs write, if it can be filled.
    """

    def __init__(self, stack: Stack, scale: Scale, disk: Disk | None) -> None:
        self.stack, self.scale, self.disk = stack, scale, disk
        self.home = Home(stack.home)
        self.postgres, self._redis = make_servers(self.home, lambda: None)
        self.engine = make_engine(self.postgres.url("normlab"))
        self.sessions = make_sessions(self.engine)
        self.jobs: list[int] = []
        self.all_jobs: set[int] = set()
        self.expected: dict[int, tuple[str, str]] = {}
        self.epochs = FEW_EPOCHS
        self._numbers = itertools.count()
        self._tokens = [self._add_person(name) for name in PEOPLE]

    def _add_person(self, name: str) -> str:
        self.stack.post("/users", {"name": name, "role": "member"})
        return str(self.stack.post("/tokens", {"name": "faults", "user": name})["secret"])

    def begin(self) -> None:
        """On a whole stack, without what an earlier test has left when it failed."""
        wait_for(self.is_whole, "every process is ready")
        for job in self.read(_find_unfinished) or ():
            self.stack.api.post(f"/jobs/{job}/cancel")
        wait_for(lambda: self.read(_find_unfinished) == [], "no job is left")
        self.jobs = [self.submit() for _ in range(self.scale.jobs)]

    def order(self, spec: Mapping[str, Any] = SPEC, seed: int | None = None) -> Order:
        """Of the next person, with the next seed unless one is given."""
        number = next(self._numbers)
        headers = {
            "Authorization": f"Bearer {self._tokens[number % len(PEOPLE)]}",
            "Idempotency-Key": uuid.uuid4().hex,
        }
        training = {"epochs": self.epochs, **spec["training"]}
        seed = number % SEEDS if seed is None else seed
        return Order({**spec, "training": training, "seed": seed}, headers)

    def place(self, order: Order) -> int:
        """The job's id. The request is sent until it is answered: an answer may get lost."""
        job = wait_for(lambda: self._send(order), "the answer to a submission")
        if job not in self.all_jobs:
            self.all_jobs.add(job)
            self.jobs.append(job)
        return job

    def submit(self, spec: Mapping[str, Any] = SPEC, seed: int | None = None) -> int:
        return self.place(self.order(spec, seed))

    def _send(self, order: Order) -> int | None:
        try:
            answer = self.stack.api.post(
                "/jobs", json=order.body, headers=order.headers, params={"fresh": "true"}
            )
        except httpx.TransportError:
            return None
        if answer.is_server_error:
            return None
        assert answer.is_success, answer.text
        return int(answer.json()["id"])

    def read(self, look: Callable[[Session], T]) -> T | None:
        """None while the database is away."""
        try:
            with self.sessions.begin() as session:
                return look(session)
        except DATABASE_AWAY:
            return None

    def broker(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._redis.socket))

    def part(self, name: str) -> Mapping[str, Any]:
        """What the supervisor says of one of its processes."""
        rows = self.home.read_state().get("processes", ())
        return next((row for row in rows if row["name"] == name), {})

    def pid(self, name: str) -> int:
        return int(self.part(name)["pid"])

    def family(self, name: str) -> list[psutil.Process]:
        """The process and all that it has started."""
        parent = psutil.Process(self.pid(name))
        return [parent, *parent.children(recursive=True)]

    def ranks(self) -> list[psutil.Process]:
        """Of jobs on several slots, in their order; not those that have forked them."""
        # What forks those names the module among others.
        named = self.stack.processes("trainer.ranks")
        processes = [one for one in named if "trainer.ranks" in one.cmdline()]
        leaders = {process.pid for process in processes}
        return sorted((one for one in processes if one.ppid() in leaders), key=lambda one: one.pid)

    def is_whole(self) -> bool:
        """Whether every process of the stack is ready."""
        rows = self.home.read_state().get("processes", ())
        return bool(rows) and all(row["state"] == "ready" for row in rows)

    def restart(self, name: str, strike: Callable[[int], None]) -> None:
        """Strikes the process; returns when its successor is ready."""
        before = self.part(name)
        strike(int(before["pid"]))
        self.wait_for_restart(name, before["restarts"])

    def wait_for_restart(self, name: str, restarts: int) -> None:
        def is_back() -> bool:
            now = self.part(name)
            return now.get("restarts", 0) > restarts and now["state"] == "ready"

        wait_for(is_back, f"{name} is back")

    def running(self) -> Running:
        """An attempt in the middle of its training; of a new job if none of the test's is left."""

        def look() -> Running | None:
            if running := self.read(self._find_running):
                return running
            self.submit_if_idle()
            return None

        return wait_for(look, "a job is in the middle of its training", pause=0.02)

    def submit_if_idle(self) -> None:
        if self.read(self.have_ended):
            self.submit()

    def _find_running(self, session: Session) -> Running | None:
        # Something to go on from, also where the newest is damaged.
        saved = _count_saved(Job.id)
        query = (
            select(Job.id, Job.attempt, Attempt.process)
            .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
            .join(Epoch, Epoch.job_id == Job.id)
            .where(
                Job.id.in_(self.jobs),
                Job.status == "running",
                # Others are hit by a fault of their own.
                Job.devices == 1,
                Job.max_attempts == TRIES,
                Attempt.first_step.is_not(None),
            )
            .group_by(Job.id, Job.attempt, Attempt.process)
            .having(func.count().between(2, self.epochs * 0.6), saved >= 2)
            .order_by(func.count())
        )
        row = session.execute(query).first()
        return None if row is None else Running(*row)

    def have_ended(self, session: Session) -> bool:
        query = select(Job.id).where(Job.id.in_(self.jobs), Job.finished_at.is_(None))
        return session.execute(query.limit(1)).first() is None

    def has_log(self, words: str) -> Callable[[Session], str | None]:
        """The first line of the jobs' logs with these words."""
        lines = select(LogLine.text).where(
            LogLine.job_id.in_(self.jobs), LogLine.text.contains(words)
        )
        return lambda session: session.scalars(lines.order_by(LogLine.id)).first()

    def status(self, job: int) -> str | None:
        return self.read(lambda session: session.get_one(Job, job).status)

    def attempt(self, job: int, number: int) -> Attempt | None:
        return self.read(lambda session: session.get(Attempt, (job, number)))

    def end_of(self, hit: Running) -> Attempt:
        """The attempt once it has ended."""

        def look() -> Attempt | None:
            attempt = self.attempt(hit.job, hit.attempt)
            return attempt if attempt is not None and attempt.ended_at is not None else None

        return wait_for(look, f"the end of attempt {hit.attempt} of job {hit.job}")

    def first_step_after(self, hit: Running) -> int:
        """Where the next attempt has begun."""

        def look() -> Attempt | None:
            attempt = self.attempt(hit.job, hit.attempt + 1)
            return attempt if attempt is not None and attempt.first_step is not None else None

        attempt = wait_for(look, f"attempt {hit.attempt + 1} of job {hit.job} trains")
        assert attempt.first_step is not None
        return attempt.first_step

    def training(self, job: int, number: int = 1, saved: int = 0) -> Running:
        """The job's attempt of this number, once it has trained for a while, and so many checkpoints are there."""

        def look(session: Session) -> Running | None:
            row = session.get_one(Job, job)
            attempt = session.get(Attempt, (job, number))
            if attempt is None or attempt.first_step is None or row.step == 0:
                return None
            if row.status != "running" or (session.scalar(select(_count_saved(job))) or 0) < saved:
                return None
            return Running(job, number, attempt.process)

        return wait_for(
            lambda: self.read(look), f"attempt {number} of job {job} trains", pause=0.02
        )

    @contextmanager
    def bad_disk(self, damage: Callable[[Disk], AbstractContextManager[None]]) -> Iterator[None]:
        """Of the folder where checkpoints go."""
        if self.disk is None:
            raise NotMadeHere("no file system can be mounted")
        try:
            with damage(self.disk):
                yield
        finally:
            self.release_hosts()

    def release_hosts(self) -> None:
        """As if it were a day later: a host whose disk was full gets no jobs for a while, above all not the same."""
        day = timedelta(days=1)
        with self.sessions.begin() as session:
            session.execute(update(Worker).values(held_until=None))
            session.execute(
                update(Attempt)
                .where(Attempt.end == "disk", Attempt.ended_at > func.now() - day / 2)
                .values(started_at=Attempt.started_at - day, ended_at=Attempt.ended_at - day)
            )


def _find_unfinished(session: Session) -> list[int]:
    return list(session.scalars(select(Job.id).where(Job.finished_at.is_(None))))


def _count_saved(job: Any) -> ScalarSelect[int]:
    saved = select(func.count()).where(Checkpoint.job_id == job, Checkpoint.kind == "last")
    return saved.scalar_subquery()
