"""Preemption: who gives way to whom, and that nobody does for ever."""

import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import PRIORITIES, Attempt, Job, Transition
from store.hosts import DeviceRoom, Need, Room
from store.jobs import commands
from store.jobs.order import raise_class
from store.jobs.preemption import Claimant, Holder, Slot, choose, preempt
from tests.support.factories import acquire_job, make_job, make_user, make_worker, set_job

Sessions = sessionmaker[Session]
PROTECTED_SECONDS = 300.0
START = datetime(2026, 1, 1, tzinfo=UTC)
LOW, NORMAL, HIGH, URGENT = range(len(PRIORITIES))


def start(session: Session, priority: str, *, minutes: float, waited: float = 0.0) -> Job:
    """A job that has been running for so long, after it had waited for so many minutes."""
    job = wait(session, priority)
    assert acquire_job(session) is not None
    session.refresh(job)
    assert job.status == "running"
    began = job.queued_at - timedelta(minutes=minutes)
    session.execute(update(Attempt).where(Attempt.job_id == job.id).values(started_at=began))
    set_job(session, job.id, started_at=began, queued_at=began - timedelta(minutes=waited))
    return job


def wait(session: Session, priority: str, device: str = "cpu") -> Job:
    # Only admins may ask for each of the words.
    owner = make_user(session, role="admin")
    return make_job(session, owner, resources={"priority": priority, "device": device})


def requested(session: Session, job: Job) -> tuple[str | None, str | None]:
    session.refresh(job)
    return job.requested_action, job.requested_by


def test_the_lowest_class_gives_way_and_of_one_class_the_newest(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=3)
        normal = start(session, "normal", minutes=6)
        older, newer = (start(session, "low", minutes=minutes) for minutes in (30, 10))
        first = wait(session, "high")
        assert preempt(session, PROTECTED_SECONDS) == [newer.id]
        assert requested(session, newer) == ("preempt", f"job {first.id} (high)")
        # It has room as soon as the job has stopped: nobody else is asked for it.
        assert preempt(session, PROTECTED_SECONDS) == []
        wait(session, "high")
        wait(session, "urgent")
        assert sorted(preempt(session, PROTECTED_SECONDS)) == sorted([older.id, normal.id])
        wait(session, "urgent")
        assert preempt(session, PROTECTED_SECONDS) == []


@pytest.mark.parametrize(
    ("running", "waiting", "minutes", "waited"),
    [
        ("normal", "normal", 60, 0),
        ("high", "normal", 60, 0),
        # In its first minutes.
        ("low", "urgent", 4, 0),
        # Its class was raised while it waited for so long.
        ("normal", "high", 60, 61),
    ],
)
def test_who_does_not_give_way(
    sessions: Sessions, running: str, waiting: str, minutes: float, waited: float
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        start(session, running, minutes=minutes, waited=waited)
        wait(session, waiting)
        assert preempt(session, PROTECTED_SECONDS) == []


def test_nobody_gives_way_where_there_is_room_or_none_would_be_made(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        start(session, "low", minutes=10)
        wait(session, "high")
        # A slot is free.
        assert preempt(session, PROTECTED_SECONDS) == []
        # On a kind of device that nobody has.
        wait(session, "urgent", "cuda")
        assert preempt(session, PROTECTED_SECONDS) == []


def test_what_gave_way_waits_behind_what_it_made_room_for_however_long_it_ran(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        # By the time since it was submitted it would be urgent.
        low = start(session, "low", minutes=300, waited=20)
        high = wait(session, "high")
        assert preempt(session, PROTECTED_SECONDS) == [low.id]
        commands.end_attempt(session, low.id, 1, "preempted")
        session.refresh(low)
        assert (low.status, low.requested_action) == ("queued", None)
        last = session.query(Transition).filter_by(job_id=low.id).order_by(Transition.id.desc())
        assert last.first().why == f"attempt 1 preempted for job {high.id} (high)"  # type: ignore[union-attr]
    with sessions.begin() as session:
        waited = datetime.now(UTC) - session.get_one(Job, low.id).queued_at
        assert timedelta(minutes=20) < waited < timedelta(minutes=25)
        assignment = acquire_job(session)
        assert assignment is not None
        assert assignment.job_id == high.id
        commands.finish(session, high.id, 1, reason="completed")
        again = acquire_job(session)
        assert again is not None
        assert (again.job_id, again.attempt) == (low.id, 2)


def test_a_person_s_request_is_not_replaced_and_reaches_no_later_attempt(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        low = start(session, "low", minutes=10)
        wait(session, "high")
        assert preempt(session, PROTECTED_SECONDS) == [low.id]
        commands.request_action(session, low, "cancel", "ada")
        assert requested(session, low) == ("cancel", "ada")
        commands.end_attempt(session, low.id, 1, "preempted")
        session.refresh(low)
        # Cancelled is what was asked for last, and no attempt comes after it.
        assert low.status == "cancelled"


def test_a_job_that_the_running_one_will_answer_takes_no_slot_from_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        low = start(session, "low", minutes=10)
        equal = wait(session, "high")
        assert equal.hash == low.hash
        set_job(session, equal.id, may_reuse=True)
        assert preempt(session, PROTECTED_SECONDS) == []
        set_job(session, equal.id, may_reuse=False)
        assert preempt(session, PROTECTED_SECONDS) == [low.id]


def test_a_registration_is_left_alone(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = start(session, "low", minutes=10)
        set_job(session, job.id, kind="dataset")
        wait(session, "urgent")
        assert preempt(session, PROTECTED_SECONDS) == []


def holder(job_id: int, level: int, *devices: int, minutes: float = 0.0, host: str = "a") -> Holder:
    slots = [Slot(host, device, 0) for device in devices]
    return Holder(job_id, 1, level, START - timedelta(minutes=minutes), slots)


def gpus(*numbers: int, free: bool = False) -> Room:
    """GPUs of one slot."""
    return Room([DeviceRoom(one, "cuda", one, 1, not free, (0,) * free) for one in numbers])


def cpu(slots: int, *free: int) -> Room:
    return Room([DeviceRoom(0, "cpu", 0, slots, slots - len(free), free)])


def claim(
    level: int,
    devices: int = 1,
    kind: str | None = "cuda",
    *,
    exclusive: bool = False,
    waited: float = 600.0,
    owner: int = 1,
) -> Claimant:
    return Claimant(99, owner, level, Need(devices, exclusive, kind), waited)


def decide(
    claimants: Sequence[Claimant],
    holders: Sequence[Holder],
    rooms: Mapping[str, Room],
    **allowed: int,
) -> list[int]:
    """Who gives way; `allowed`: of the owner of this number, as in `of_1`."""
    allowances = {int(name.removeprefix("of_")): count for name, count in allowed.items()}
    return [holder.job_id for holder, _ in choose(claimants, holders, rooms, allowances)]


def test_several_devices_are_made_free_on_the_host_that_keeps_them() -> None:
    holders = [
        *(holder(number, LOW, number, host="a") for number in range(4)),
        holder(8, NORMAL, 10, 11, 12, host="b"),
    ]
    # It has one already.
    beta = Room([*gpus(10, 11, 12).devices, *gpus(13, free=True).devices])
    rooms = {"a": gpus(0, 1, 2, 3), "b": beta}
    assert decide([claim(HIGH, 4)], holders, rooms) == [8]
    # Others could still take what is made free.
    assert decide([claim(HIGH, 4, waited=10)], holders, rooms) == []
    # None is asked in vain.
    assert decide([claim(NORMAL, 4)], holders, rooms) == []
    alpha = {"a": gpus(0, 1, 2, 3)}
    assert sorted(decide([claim(NORMAL, 4)], holders[:4], alpha)) == [0, 1, 2, 3]
    assert len(decide([claim(NORMAL, 2)], holders[:4], alpha)) == 2
    assert decide([claim(NORMAL, 4)], holders[:3], alpha) == []


def test_nobody_gives_way_for_nothing() -> None:
    # Newer than the one that holds the GPU, but on the processor.
    beside = Holder(1, 1, LOW, START, [Slot("a", 0, 0)])
    room = Room([*gpus(5).devices, *cpu(1).devices])
    assert decide([claim(HIGH)], [beside, holder(2, LOW, 5, minutes=9)], {"a": room}) == [2]


def test_a_whole_device_is_made_free_for_a_job_that_wants_no_other_beside_it() -> None:
    holders = [Holder(number, 1, LOW, START, [Slot("a", 0, number)]) for number in range(3)]
    rooms = {"a": cpu(4, 3)}
    assert decide([claim(HIGH, kind="cpu")], holders, rooms) == []
    alone = claim(HIGH, kind="cpu", exclusive=True)
    assert sorted(decide([alone], holders, rooms)) == [0, 1, 2]
    # Until it has waited long enough the first slot that becomes free would go to somebody else.
    early = claim(HIGH, kind="cpu", exclusive=True, waited=10)
    assert decide([early], holders, rooms) == []
    # One of them is of no lower class.
    others = [*holders[:2], Holder(2, 1, HIGH, START, [Slot("a", 0, 2)])]
    assert decide([alone], others, rooms) == []


def test_behind_a_job_that_stands_first_and_only_waits_nobody_preempts_for_it() -> None:
    aged, urgent = claim(LOW), claim(URGENT)
    rooms = {"a": gpus(0)}
    assert decide([aged, urgent], [holder(5, LOW, 0)], rooms) == []
    assert decide([urgent, aged], [holder(5, LOW, 0)], rooms) == [5]


def test_a_job_that_can_never_start_holds_nobody_back() -> None:
    impossible = claim(LOW, 16, kind=None)
    assert decide([impossible, claim(URGENT)], [holder(5, LOW, 0)], {"a": gpus(0)}) == [5]


def test_nobody_gives_way_to_more_jobs_than_their_owner_may_have_running() -> None:
    holders = [holder(number, LOW, number) for number in range(3)]
    rooms = {"a": gpus(0, 1, 2)}
    urgent = [claim(URGENT) for _ in range(3)]
    assert len(decide(urgent, holders, rooms, of_1=1)) == 1
    assert decide(urgent, holders, rooms, of_1=0) == []
    assert len(decide([*urgent, claim(HIGH, owner=2)], holders, rooms, of_1=1)) == 2


@dataclass(order=True)
class Simulated:
    """A job by its times, in seconds."""

    number: int
    priority: int = field(compare=False)
    left: float = field(compare=False)
    queued_at: float = field(compare=False)
    started_at: float | None = field(default=None, compare=False)
    preempted: int = field(default=0, compare=False)

    def level(self, now: float) -> int:
        until = now if self.started_at is None else self.started_at
        return raise_class(self.priority, until - self.queued_at)


class Simulation:
    """Two slots and the rules of the queue, with a clock of its own; the decisions are the product's."""

    def __init__(self, arrivals: int, seed: int) -> None:
        draw = random.Random(seed)
        self.events: list[tuple[float, int]] = []
        self.jobs: dict[int, Simulated] = {}
        at = 0.0
        for number in range(arrivals):
            at += draw.expovariate(1 / 600)
            seconds = draw.choice((120.0, 600.0, 1800.0))
            self.jobs[number] = Simulated(number, draw.randrange(4), seconds, at)
            heapq.heappush(self.events, (at, number))
        self.waiting: list[Simulated] = []
        self.slots: list[Simulated | None] = [None, None]
        self.now = 0.0
        self.ended: list[int] = []
        self.took: Counter[tuple[int, int]] = Counter()

    def run(self) -> None:
        # A round of the sweep every minute.
        while len(self.ended) < len(self.jobs):
            self.now += 60.0
            while self.events and self.events[0][0] <= self.now:
                self.waiting.append(self.jobs[heapq.heappop(self.events)[1]])
            self._end_completed()
            self._preempt()
            self._fill()

    def _end_completed(self) -> None:
        for number, job in enumerate(self.slots):
            if job is not None and self._ran(job) >= job.left:
                self.slots[number] = None
                self.ended.append(job.number)

    def _preempt(self) -> None:
        order = sorted(self.waiting, key=lambda one: (-one.level(self.now), one.queued_at))
        need = Need(1, exclusive=False, kind=None)
        claimants = [Claimant(one.number, one.number, one.priority, need, 0.0) for one in order]
        holders = [
            Holder(
                job.number, 1, job.level(self.now),
                START + timedelta(seconds=job.started_at or 0.0), [Slot("a", 0, number)],
            )
            for number, job in enumerate(self.slots)
            if job is not None and self._ran(job) >= PROTECTED_SECONDS
        ]  # fmt: skip
        free = [number for number, job in enumerate(self.slots) if job is None]
        for victim, claimant in choose(claimants, holders, {"a": cpu(2, *free)}, {}):
            job = self.jobs[victim.job_id]
            self.slots[self.slots.index(job)] = None
            # As `end_attempt` writes it.
            job.left -= self._ran(job)
            job.queued_at += self._ran(job)
            job.started_at = None
            job.preempted += 1
            self.waiting.append(job)
            self.took[claimant.job_id, job.number] += 1

    def _fill(self) -> None:
        self.waiting.sort(key=lambda one: (-one.level(self.now), one.queued_at))
        for number, job in enumerate(self.slots):
            if job is None and self.waiting:
                self.slots[number] = self.waiting.pop(0)
                self.slots[number].started_at = self.now  # type: ignore[union-attr]

    def _ran(self, job: Simulated) -> float:
        assert job.started_at is not None
        return self.now - job.started_at


@pytest.mark.parametrize("seed", range(3))
def test_among_a_thousand_random_arrivals_no_two_take_a_slot_from_each_other(seed: int) -> None:
    simulation = Simulation(1000, seed)
    simulation.run()
    took: dict[Any, int] = simulation.took
    assert len(simulation.ended) == 1000
    assert sum(took.values()) > 20
    # Never back, and only from a lower class.
    assert all((victim, claimant) not in took for claimant, victim in took)
    assert all(
        simulation.jobs[claimant].priority > simulation.jobs[victim].priority
        for claimant, victim in took
    )
    # Nor does a job give way again and again: each of the few times that it did it had got on for minutes.
    assert max(job.preempted for job in simulation.jobs.values()) <= 8
    assert max(took.values()) <= 3
