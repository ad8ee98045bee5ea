"""What prevents a queued job from starting, other than the jobs ahead of it."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.db import Attempt, Dataset, Job
from store.jobs import leases, queue


def find_obstacle(session: Session, job: Job) -> str | None:
    """In words; None for a job that isn't queued or only waits for its turn."""
    if job.status != "queued":
        return None
    if job.waits_for is not None:
        return f"job {job.waits_for} trains the same now, and will answer it"
    dataset = session.get_one(Dataset, job.dataset_id)
    if job.kind == "training" and dataset.status != "ready":
        return f"its dataset {dataset.name} is not ready"
    kind = session.scalars(select(queue.required_kind()).where(Job.id == job.id)).one()
    workers, devices = leases.workers_view(session), leases.devices_view(session)
    sentences = [
        *_last_full_disk(session, job),
        *describe_hosts(workers, devices, kind, job.devices),
    ]
    return "; ".join(sentences) or None


def _last_full_disk(session: Session, job: Job) -> list[str]:
    # Most jobs that are looked at while they wait have not been tried yet.
    attempt = session.get(Attempt, (job.id, job.attempt)) if job.attempt else None
    if attempt is None or attempt.end != "disk" or not attempt.error:
        return []
    return [f"attempt {attempt.number}: {attempt.error.splitlines()[0]}"]


def describe_hosts(
    workers: Sequence[leases.WorkerView],
    devices: Sequence[leases.DeviceView],
    kind: str | None,
    count: int,
) -> list[str]:
    """What is wrong with the hosts that have so many devices of the kind (None: any), where none of them takes jobs."""
    counts = Counter((device.host, device.kind) for device in devices)
    fitting = {
        host for (host, own), found in counts.items() if kind in (None, own) and found >= count
    }
    beside = [worker for worker in workers if worker.alive and worker.host in fitting]
    # One host that takes jobs is enough: then the job only waits for its turn, and what is wrong elsewhere
    # does not hold it up.
    if any(worker.claims for worker in beside):
        return []
    reasons = [
        f"{worker.host} {'; '.join(worker.problems) or 'is being stopped'}" for worker in beside
    ]
    return reasons or [f"no worker{_needed(kind, count)} is running"]


def _needed(kind: str | None, count: int) -> str:
    if count > 1:
        return f" with {count} devices of {f'kind {kind}' if kind else 'one kind'}"
    return f" with a device of kind {kind}" if kind else ""
