"""What prevents a queued job from starting, other than the jobs ahead of it."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.db import Attempt, Dataset, Job
from store.hosts import host_views
from store.jobs import queue


class WaitReason(StrEnum):
    """Why a job waits; one of these, always."""

    BEHIND = "behind"
    NO_FREE_SLOT = "no_free_slot"
    NO_MEMORY = "no_memory"
    STARTING = "starting"
    LIMIT = "limit"
    DATASET = "dataset"
    NO_WORKER = "no_worker"
    NO_PACKAGE = "no_package"
    DRAINING = "draining"
    RESERVED = "reserved"
    NO_SPACE = "no_space"
    EQUAL = "equal"
    PAUSED = "paused"


#: Those that somebody has to do something about.
HINDRANCES = frozenset(
    {
        WaitReason.DATASET,
        WaitReason.NO_WORKER,
        WaitReason.NO_PACKAGE,
        WaitReason.DRAINING,
        WaitReason.RESERVED,
        WaitReason.NO_SPACE,
    }
)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A reason, and the sentence that says it for this job."""

    reason: WaitReason
    sentence: str


def find_obstacle(session: Session, job: Job) -> str | None:
    """In words; None for a job that isn't queued or only waits for its turn."""
    if job.status != "queued":
        return None
    if job.waits_for is not None:
        return describe_equal(job.waits_for)
    dataset = session.get_one(Dataset, job.dataset_id)
    if job.kind == "training" and dataset.status != "ready":
        return f"its dataset {dataset.name} is not ready"
    kind = session.scalars(select(queue.required_kind()).where(Job.id == job.id)).one()
    workers, devices = host_views.workers_view(session), host_views.devices_view(session)
    of_hosts = describe_hosts(workers, devices, kind, job.devices, job.packages)
    sentences = [*last_full_disk(session, job), *(one.sentence for one in of_hosts)]
    return "; ".join(sentences) or None


def describe_equal(job_id: int) -> str:
    return f"job {job_id} trains the same now, and will answer it"


def last_full_disk(session: Session, job: Job) -> list[str]:
    """That the disk ran full under the job's last attempt, for which its host skips it for a while."""
    # Most jobs that are looked at while they wait have not been tried yet.
    attempt = session.get(Attempt, (job.id, job.attempt)) if job.attempt else None
    if attempt is None or attempt.end != "disk" or not attempt.error:
        return []
    return [f"attempt {attempt.number}: {attempt.error.splitlines()[0]}"]


def describe_hosts(
    workers: Sequence[host_views.WorkerView],
    devices: Sequence[host_views.DeviceView],
    kind: str | None,
    count: int,
    packages: Collection[str] = (),
) -> list[Obstacle]:
    """What is wrong with the hosts that have so many devices of the kind (None: any) and the packages, where none of them
    takes jobs."""
    fitting = _find_fitting(devices, kind, count)
    beside = [worker for worker in workers if worker.alive and worker.host in fitting]
    if not beside:
        return [Obstacle(WaitReason.NO_WORKER, f"no worker{_needed(kind, count)} is running")]
    able = [worker for worker in beside if {*packages} <= {*worker.packages}]
    if not able:
        return [_describe_missing(packages, beside)]
    beside = able
    free = _find_fitting([one for one in devices if one.reserved is None], kind, count)
    # One host that takes jobs is enough: then the job only waits for its turn, and what is wrong elsewhere
    # does not hold it up.
    if any(worker.claims and worker.host in free for worker in beside):
        return []
    return [
        _describe_reserved(worker.host, devices, kind) if worker.claims else _describe_host(worker)
        for worker in beside
    ]


def _find_fitting(
    devices: Sequence[host_views.DeviceView], kind: str | None, count: int
) -> set[str]:
    """Hosts with so many devices of one kind."""
    counts: Counter[tuple[str, str]] = Counter()
    for device in devices:
        # As in `store.hosts.room`: to processes that train together each slot of a CPU is a device.
        counts[device.host, device.kind] += device.slots if device.kind == "cpu" else 1
    return {host for (host, own), found in counts.items() if kind in (None, own) and found >= count}


def _describe_missing(
    packages: Collection[str], workers: Sequence[host_views.WorkerView]
) -> Obstacle:
    """A package that none of the workers has, and what they have of it."""
    missing = next(
        (one for one in packages if not any(one in worker.packages for worker in workers)),
        ", ".join(packages),
    )
    name = missing.partition(" ")[0]
    others = [
        f"{worker.host} has {one}"
        for worker in workers
        for one in worker.packages
        if one.partition(" ")[0] == name
    ]
    has = f" ({', '.join(others)})" if others else ""
    sentence = (
        f"no running worker has the package {missing}{has}: install it there and restart the worker"
    )
    return Obstacle(WaitReason.NO_PACKAGE, sentence)


def _describe_reserved(
    host: str, devices: Sequence[host_views.DeviceView], kind: str | None
) -> Obstacle:
    words = dict.fromkeys(
        one.reserved
        for one in devices
        if one.host == host and kind in (None, one.kind) and one.reserved
    )
    return Obstacle(WaitReason.RESERVED, "; ".join(words))


def _describe_host(worker: host_views.WorkerView) -> Obstacle:
    reason = WaitReason.DRAINING if worker.draining else WaitReason.NO_SPACE
    words = "; ".join(worker.problems) or "is being stopped"
    return Obstacle(reason, f"{worker.host} {words}")


def _needed(kind: str | None, count: int) -> str:
    if count > 1 and kind == "cpu":
        return f" with {count} slots on its CPU"
    if count > 1:
        return f" with {count} devices of {f'kind {kind}' if kind else 'one kind'}"
    return f" with a device of kind {kind}" if kind else ""
