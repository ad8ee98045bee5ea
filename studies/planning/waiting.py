"""The queue as people see it: for each waiting job its place, the one reason why it waits, and when it may start."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from store.db import Job, database_now
from store.hosts import host_views
from store.jobs import Obstacle, Waiting, WaitReason, limits, obstacles, queue
from store.results import Progress, overview, pace
from studies.planning.memory_lack import describe_lack
from studies.planning.starts import Turn, expect_starts

#: Of how many jobs at the head of the queue it is worked out when they may start.
MOST_FORESEEN = 100


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of a device; free without a job. `share`: done of the job, from 0 to 1."""

    device: host_views.DeviceView
    number: int
    held: host_views.Held | None
    job: Job | None
    progress: Progress | None

    @property
    def share(self) -> float | None:
        if self.job is None or not self.job.total_steps:
            return None
        return min(1.0, self.job.step / self.job.total_steps)

    @property
    def free_in(self) -> float | None:
        """Seconds until another job can have it; None where nothing tells."""
        if self.held is None or self.job is None:
            return 0.0
        return self.progress.seconds_left if self.progress else None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue: why its job waits, whose jobs are ahead of it (how many of each person), and in how many
    seconds it may start (None: nothing tells)."""

    waiting: Waiting
    reason: WaitReason
    why: str
    behind: Mapping[str, int]
    starts_in: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """What runs and what waits at one moment."""

    at: datetime
    workers: Sequence[host_views.WorkerView]
    slots: Sequence[Slot]
    running: Sequence[Job]
    places: Sequence[Place]


def read_line(session: Session, most: int = MOST_FORESEEN) -> Line:
    """The slots, and the first `most` of the queue."""
    at = database_now(session)
    workers, devices = host_views.workers_view(session, at), host_views.devices_view(session)
    running = queue.running(session)
    slots = _read_slots(session, devices, {one.host for one in workers if one.alive}, running)
    usable = _choose_usable(slots, workers)
    waiting = queue.waiting(session, most)
    hindered = _find_obstacles(session, waiting, workers, devices)
    starts = _expect_starts(session, at, waiting, hindered, usable, running)
    return Line(at, workers, slots, running, _place(waiting, hindered, usable, starts))


def read_free(session: Session, unknown: float) -> Mapping[str, Sequence[float]]:
    """By kind of device, in how many seconds each slot that jobs may get is free; `unknown`: where nothing tells."""
    workers, devices = host_views.workers_view(session), host_views.devices_view(session)
    running = queue.running(session)
    slots = _read_slots(session, devices, {one.host for one in workers if one.alive}, running)
    free: dict[str, list[float]] = {}
    for slot in _choose_usable(slots, workers):
        seconds = unknown if slot.free_in is None else slot.free_in
        free.setdefault(slot.device.kind, []).append(seconds)
    return free


def _choose_usable(
    slots: Sequence[Slot], workers: Sequence[host_views.WorkerView]
) -> Sequence[Slot]:
    hosts = {one.host for one in workers if one.claims}
    return [
        one
        for one in slots
        if one.device.host in hosts
        and one.number < one.device.slots
        and one.device.reserved is None
    ]


def _read_slots(
    session: Session,
    devices: Sequence[host_views.DeviceView],
    hosts: set[str],
    running: Sequence[Job],
) -> Sequence[Slot]:
    jobs = {job.id: job for job in running}
    progress = overview.progress(session) if jobs else {}
    return [
        slot
        for device in devices
        if device.host in hosts or device.held
        for slot in _slots_of(device, jobs, progress)
    ]


def _slots_of(
    device: host_views.DeviceView, running: Mapping[int, Job], progress: Mapping[int, Progress]
) -> list[Slot]:
    held = {one.slot: one for one in device.held}
    # After a restart with fewer slots, a job may still hold one of a higher number.
    numbers = sorted({*range(device.slots), *held})
    return [
        Slot(
            device,
            number,
            one := held.get(number),
            running.get(one.job_id) if one else None,
            progress.get(one.job_id) if one else None,
        )
        for number in numbers
    ]


def _find_obstacles(
    session: Session,
    waiting: Sequence[Waiting],
    workers: Sequence[host_views.WorkerView],
    devices: Sequence[host_views.DeviceView],
) -> Mapping[int, Sequence[Obstacle]]:
    """By job; of most there are none."""
    of_hosts = {
        need: obstacles.describe_hosts(workers, devices, *need)
        for need in {_need_of(one) for one in waiting}
    }
    of_limits = {
        (one.job.owner.id, one.reached): limits.describe_reached(
            session, one.job.owner, one.reached
        )
        for one in waiting
        if one.reached is not None
    }
    found: dict[int, Sequence[Obstacle]] = {}
    for one in waiting:
        if not one.runnable:
            found[one.job.id] = [Obstacle(WaitReason.DATASET, "its dataset is not ready")]
        elif hosts := of_hosts[_need_of(one)]:
            found[one.job.id] = hosts
        elif one.reached is not None:
            sentence = of_limits[one.job.owner.id, one.reached]
            found[one.job.id] = [Obstacle(WaitReason.LIMIT, sentence)]
    return found


def _need_of(waiting: Waiting) -> tuple[str | None, int, tuple[str, ...]]:
    return waiting.kind, waiting.job.devices, tuple(waiting.job.packages)


def _place(
    waiting: Sequence[Waiting],
    hindered: Mapping[int, Sequence[Obstacle]],
    usable: Sequence[Slot],
    starts: Mapping[int, float | None],
) -> Sequence[Place]:
    places: list[Place] = []
    # Of those ahead that can start, by the kind of device and the owner.
    ahead: Counter[tuple[str | None, str]] = Counter()
    for one in waiting:
        behind: Counter[str] = Counter()
        for (kind, owner), count in ahead.items():
            if None in (kind, one.kind) or kind == one.kind:
                behind[owner] += count
        obstacle = _combine(hindered[one.job.id]) if one.job.id in hindered else None
        if obstacle is None:
            ahead[one.kind, one.job.owner.name] += 1
            obstacle = _explain_turn(one, behind, usable)
        # For all that is told of slots it could start now.
        start = None if obstacle.reason is WaitReason.NO_MEMORY else starts.get(one.job.id)
        places.append(Place(one, obstacle.reason, obstacle.sentence, dict(behind), start))
    return places


def _combine(found: Sequence[Obstacle]) -> Obstacle:
    return Obstacle(found[0].reason, "; ".join(one.sentence for one in found))


def _explain_turn(one: Waiting, behind: Mapping[str, int], usable: Sequence[Slot]) -> Obstacle:
    fitting = [slot for slot in usable if one.kind in (None, slot.device.kind)]
    free = sum(slot.held is None for slot in fitting)
    count = sum(behind.values())
    if free >= one.job.devices + count and not one.job.exclusive:
        lack = describe_lack(one, (slot.device for slot in fitting))
        return lack or Obstacle(WaitReason.STARTING, "next in line: a slot is free")
    if count:
        return Obstacle(WaitReason.BEHIND, _describe_behind(behind, count))
    kind = f" {one.kind}" if one.kind else ""
    if one.job.exclusive:
        wanted = f"{one.job.devices}{kind} devices" if one.job.devices > 1 else f"a{kind} device"
        needed = f"it needs {wanted} with no other job beside it"
        return Obstacle(WaitReason.NO_FREE_SLOT, f"next in line: {needed}")
    if one.job.devices > 1:
        needed = f"it needs {one.job.devices}{kind} devices at once, and {free} are free"
        return Obstacle(WaitReason.NO_FREE_SLOT, f"next in line: {needed}")
    if len(fitting) == 1:
        return Obstacle(WaitReason.NO_FREE_SLOT, f"next in line: the only{kind} slot is in use")
    number = "both" if len(fitting) == 2 else f"all {len(fitting)}"
    return Obstacle(WaitReason.NO_FREE_SLOT, f"next in line: {number}{kind} slots are in use")


def _describe_behind(behind: Mapping[str, int], count: int) -> str:
    jobs = f"behind {count} job{'s' if count > 1 else ''}"
    if len(behind) == 1:
        return f"{jobs} of {next(iter(behind))}"
    most_first = sorted(behind.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count} of {owner}" for owner, count in most_first[:3]]
    if len(most_first) > 3:
        parts.append(f"{sum(count for _, count in most_first[3:])} of others")
    return f"{jobs}: {', '.join(parts)}"


def _expect_starts(
    session: Session,
    at: datetime,
    waiting: Sequence[Waiting],
    hindered: Mapping[int, Sequence[Obstacle]],
    usable: Sequence[Slot],
    running: Sequence[Job],
) -> Mapping[int, float | None]:
    """By job; of those that only wait for their turn or for a limit of their owner."""
    foreseen = [one for one in waiting if _ends_by_itself(hindered.get(one.job.id, ()))]
    ids = {one.job.study_id for one in foreseen if one.job.study_id is not None}
    usual = {**_expected_of_running(usable), **pace.recent_seconds(session, ids)}
    turns = [
        Turn(
            one.kind,
            # For all that is told before it starts, a whole device is several slots.
            one.job.devices + one.job.exclusive,
            _expect_seconds(one.job, usual.get(one.job.study_id or 0)),
            one.job.owner.name if one.reached else None,
        )
        for one in foreseen
    ]
    free: dict[str, list[float]] = {}
    for slot in usable:
        if (seconds := slot.free_in) is not None:
            free.setdefault(slot.device.kind, []).append(seconds)
    starts = expect_starts(turns, free, _read_allowances(at, foreseen, usable))
    return {one.job.id: start for one, start in zip(foreseen, starts, strict=True)}


def _ends_by_itself(found: Sequence[Obstacle]) -> bool:
    return all(one.reason is WaitReason.LIMIT for one in found)


def _read_allowances(
    at: datetime, waiting: Sequence[Waiting], slots: Sequence[Slot]
) -> Mapping[str, Sequence[float]]:
    """Of people who have reached a limit: the seconds until each of the jobs that they may have at once can start."""
    midnight = datetime.combine(
        at.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC
    )
    of_day = [(midnight - at).total_seconds()] * len(slots)
    found: dict[str, Sequence[float]] = {}
    for one in waiting:
        owner = one.job.owner.name
        match one.reached:
            case None:
                pass
            case "running":
                own = [slot for slot in slots if slot.job and slot.job.owner.name == owner]
                found[owner] = [slot.free_in for slot in own if slot.free_in is not None]
            case _:
                found[owner] = of_day
    return found


def _expected_of_running(slots: Sequence[Slot]) -> Mapping[int, float]:
    """By study: how long its running jobs will have taken, where none has ended yet."""
    found: dict[int, list[float]] = {}
    for slot in slots:
        if slot.job and slot.job.study_id and slot.progress and slot.free_in is not None:
            found.setdefault(slot.job.study_id, []).append(slot.progress.seconds + slot.free_in)
    return {study: sum(seconds) / len(seconds) for study, seconds in found.items()}


def _expect_seconds(job: Job, usual: float | None) -> float | None:
    """What is left of it, if it takes as long as others of its study did."""
    if usual is None or not job.total_steps:
        return usual
    return usual * max(0.0, 1 - job.step / job.total_steps)
