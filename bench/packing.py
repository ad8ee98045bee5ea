"""How many small jobs share a GPU: the real acquisition on PostgreSQL, simulated GPUs, work and users beside Normlab's.

`python -m bench.packing` lets 200 jobs of six shapes run on three GPUs while other people's processes come and go, and
compares that with one job per GPU. No GPU takes part: how sharing slows jobs down is assumed, as `MODEL` says.
"""

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from bench.harness.database import make_database
from bench.harness.simulated_clock import set_clock, simulated_clock
from store.accounts import users
from store.catalog import datasets
from store.db import Job, Lease
from store.db.engine import make_sessions
from store.hosts import GpuMemory, gpu_memory
from store.jobs import commands, leases
from store.jobs.commands import NewJob
from trainer.spec import JobSpec, Numerics

HOST, NAME = "simulated", "a simulated GPU"
START = 1_800_014_400.0
GB = 10**9
SLOTS = 4
#: Each job beside another slows it down by so much, beside the time that the other uses.
INTERFERENCE = 0.08
MODEL = f"""The model, assumed and not measured: a job alone keeps its GPU busy for a share of the time (0.2 to 0.4: small nets wait
for their host). Jobs on one GPU take turns, so that n of them run at 1 / (1 + {INTERFERENCE} (n - 1)) of their speed alone, and
if their shares add up to more than 1, at that divided by the sum. A job takes all of its memory when it starts. What
others use is known when a job is acquired; others get no more than what is free, and none of the time."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a kind of job: its peak of memory, give or take `SPREAD`, its seconds alone, and the share of the time for which
    it keeps a GPU busy."""

    width: int
    peak_bytes: int
    seconds: float
    busy: float


SHAPES = (
    Shape(8, int(0.9 * GB), 150.0, 0.20),
    Shape(16, int(1.4 * GB), 210.0, 0.25),
    Shape(24, int(2.1 * GB), 300.0, 0.25),
    Shape(32, int(3.2 * GB), 240.0, 0.30),
    Shape(40, int(4.8 * GB), 360.0, 0.35),
    Shape(48, int(7.2 * GB), 420.0, 0.40),
)
#: Jobs of one shape differ by so much from each other.
SPREAD = 0.01
PEOPLE = ("ada", "bob", "eve")


@dataclass(slots=True)
class Work:
    """A job; `left`: seconds that it would still take alone."""

    shape: Shape
    peak_bytes: int
    seconds: float
    left: float
    gpu: int = -1
    attempt: int = 0


@dataclass(slots=True)
class Foreign:
    """A process that isn't ours, and when it ends."""

    gpu: int
    used_bytes: int
    end: float


@dataclass(slots=True)
class Result:
    """`alone`: jobs that had a GPU for themselves; `most_booked`: with what others used, when a job started."""

    seconds: float = 0.0
    one_per_gpu_seconds: float = 0.0
    out_of_memory: int = 0
    alone: int = 0
    most_booked: int = 0
    most_beside: int = 0
    foreign: int = 0
    ended: list[int] = field(default_factory=list)

    @property
    def gain(self) -> float:
        return self.one_per_gpu_seconds / self.seconds


class Packing:
    """GPUs of so many bytes, on which what people have submitted is acquired, runs and ends."""

    def __init__(self, engine: Engine, gpus: int, memory_bytes: int, seed: int = 0) -> None:
        self._sessions = make_sessions(engine)
        self._total = memory_bytes
        self._gpus = range(gpus)
        self._draw = random.Random(seed)  # noqa: S311
        self._now = 0.0
        self._jobs: dict[int, Work] = {}
        self._running: dict[int, Work] = {}
        self._foreign: list[Foreign] = []
        self._next_foreign = 60.0
        self.result = Result()
        with self._at_now() as session:
            devices = [("cuda", number, NAME, SLOTS) for number in self._gpus]
            memory = dict.fromkeys(self._gpus, memory_bytes)
            leases.register_worker(session, HOST, 1, devices, memory=memory)

    @contextmanager
    def _at_now(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            set_clock(session, START + self._now)
            yield session

    def run(self, count: int) -> Result:
        self._submit(count)
        works = list(self._jobs.values())
        self.result.one_per_gpu_seconds = _one_after_another(works, len(self._gpus))
        while len(self.result.ended) < count:
            self._fill()
            self._move_on()
            self._change_foreign()
        self.result.seconds = self._now
        return self.result

    def _submit(self, count: int) -> None:
        for place, name in enumerate(PEOPLE):
            # Each person has two of the shapes, and trains them in turns.
            shapes = SHAPES[2 * place : 2 * place + 2]
            number = count // len(PEOPLE) + (place < count % len(PEOPLE))
            works = [self._make_work(shapes[turn % 2]) for turn in range(number)]
            with self._at_now() as session:
                owner = users.create_user(session, name, "member")
                dataset = datasets.find(session, "digits")
                assert dataset is not None
                new = [
                    NewJob(spec=_spec(one.shape, seed), name=name) for seed, one in enumerate(works)
                ]
                made = commands.create(session, owner, "simulated", dataset, new)
                ids = [job.id for job in made]
                # The column fills itself with the real time.
                session.execute(
                    update(Job).where(Job.id.in_(ids)).values(queued_at=func.clock_timestamp())
                )
            self._jobs |= dict(zip(ids, works, strict=True))

    def _make_work(self, shape: Shape) -> Work:
        peak = int(shape.peak_bytes * self._draw.uniform(1 - SPREAD, 1 + SPREAD))
        seconds = shape.seconds * self._draw.uniform(0.7, 1.3)
        return Work(shape, peak, seconds, seconds)

    def _fill(self) -> None:
        """As the worker's children do: each says what others use before it acquires a job."""
        while True:
            with self._at_now() as session:
                gpu_memory.report(session, HOST, [self._describe(gpu) for gpu in self._gpus])
                found = commands.acquire(
                    session,
                    HOST,
                    1,
                    lease_seconds=1e9,
                    numerics=lambda kind: Numerics(device="cuda"),
                )
                if not isinstance(found, commands.Assignment):
                    return
                device = found.devices[0]
                booked = self._read_booked(session, found.job_id)
            work = self._jobs[found.job_id]
            work.gpu, work.attempt = device.number, found.attempt
            self._running[found.job_id] = work
            self._note_start(work, device.booked_bytes, booked)
            if work.peak_bytes > (device.booked_bytes or self._total) or self._free(work.gpu) < 0:
                self._run_out(found.job_id)

    def _describe(self, gpu: int) -> GpuMemory:
        own = sum(one.peak_bytes for one in self._on(gpu))
        return GpuMemory(gpu, self._total, own + self._used_by_others(gpu), own)

    def _note_start(self, work: Work, booking: int | None, booked: int) -> None:
        self.result.alone += booking is None
        self.result.most_beside = max(self.result.most_beside, len(self._on(work.gpu)))
        if booking is not None:
            in_all = booked + self._used_by_others(work.gpu)
            self.result.most_booked = max(self.result.most_booked, in_all)

    def _read_booked(self, session: Session, job_id: int) -> int:
        """By all jobs on the GPU of this one."""
        own = select(Lease.device_id).where(Lease.job_id == job_id)
        booked = select(func.coalesce(func.sum(Lease.booked_bytes), 0)).where(
            Lease.device_id.in_(own)
        )
        return int(session.scalars(booked).one())

    def _run_out(self, job_id: int) -> None:
        self.result.out_of_memory += 1
        work = self._running.pop(job_id)
        with self._at_now() as session:
            commands.end_attempt(session, job_id, work.attempt, "oom")

    def _move_on(self) -> None:
        """To the next end of a job or change among the others."""
        speeds = {job_id: self._speed(one) for job_id, one in self._running.items()}
        ends = [self._now + one.left / speeds[job_id] for job_id, one in self._running.items()]
        changes = [self._next_foreign, *(one.end for one in self._foreign)]
        then = min([*ends, *changes])
        for job_id, one in self._running.items():
            one.left -= (then - self._now) * speeds[job_id]
        self._now = then
        for job_id in [job_id for job_id, one in self._running.items() if one.left < 1e-6]:
            work = self._running.pop(job_id)
            with self._at_now() as session:
                commands.finish(
                    session, job_id, work.attempt,
                    reason="completed", seconds_used=work.seconds, memory_bytes=work.peak_bytes,
                )  # fmt: skip
            self.result.ended.append(job_id)

    def _speed(self, work: Work) -> float:
        beside = self._on(work.gpu)
        busy = sum(one.shape.busy for one in beside)
        return min(1.0, 1.0 / busy) / (1 + INTERFERENCE * (len(beside) - 1))

    def _change_foreign(self) -> None:
        self._foreign = [one for one in self._foreign if one.end > self._now]
        if self._now < self._next_foreign:
            return
        gpu = self._draw.choice(self._gpus)
        used = min(int(self._draw.uniform(1, 10) * GB), self._free(gpu))
        if used >= GB // 2:
            end = self._now + self._draw.uniform(120, 900)
            self._foreign.append(Foreign(gpu, used, end))
            self.result.foreign += 1
        # On each GPU one every six minutes.
        self._next_foreign = self._now + self._draw.expovariate(len(self._gpus) / 360)

    def _on(self, gpu: int) -> Sequence[Work]:
        return [one for one in self._running.values() if one.gpu == gpu]

    def _used_by_others(self, gpu: int) -> int:
        return sum(one.used_bytes for one in self._foreign if one.gpu == gpu)

    def _free(self, gpu: int) -> int:
        taken = sum(one.peak_bytes for one in self._on(gpu))
        return self._total - taken - self._used_by_others(gpu)


def _one_after_another(works: Sequence[Work], gpus: int) -> float:
    """How long it takes with one job per GPU, the next going where one ends first."""
    free = [0.0] * gpus
    for one in works:
        free[free.index(min(free))] += one.seconds
    return max(free)


def _spec(shape: Shape, seed: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": {"name": "mlp", "hidden": [shape.width]},
            "norm": {"kind": "none"},
            "training": {"epochs": 1},
            "resources": {"device": "cuda"},
            "seed": seed,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.packing", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--gpus", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--gigabytes", type=float, default=24.0, help="of each GPU (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    options = parser.parse_args()
    total = int(options.gigabytes * GB)
    with (
        tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder,
        make_database(Path(folder)) as (server, _),
        simulated_clock(server.url("bench"), START) as engine,
    ):
        found = Packing(engine, options.gpus, total, options.seed).run(options.jobs)
    _show(found, options.jobs, options.gpus, total)


def _show(found: Result, jobs: int, gpus: int, total: int) -> None:
    peaks = [shape.peak_bytes / GB for shape in SHAPES]
    print(
        f"{jobs} jobs of {len(SHAPES)} shapes ({min(peaks):.1f} to {max(peaks):.1f} GB) on {gpus} simulated GPUs of "
        f"{total / GB:.0f} GB; {found.foreign} processes of others came and went"
    )
    print(f"  out of memory: {found.out_of_memory}")
    print(
        f"  throughput: {found.gain:.2f} times that of one job per GPU ({found.seconds / 3600:.1f} h in place of "
        f"{found.one_per_gpu_seconds / 3600:.1f} h)"
    )
    print(
        f"  most booked beside what others used, when a job started: {found.most_booked / GB:.2f} GB"
    )
    print(
        f"  alone on a GPU, to be measured: {found.alone}; at most side by side: {found.most_beside}"
    )
    print(MODEL)


if __name__ == "__main__":
    main()
