"""What prevents a queued job from starting, other than the jobs ahead of it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.db import Attempt, Dataset, Job
from store.jobs import leases, queue


def find_obstacle(session: Session, job: Job) -> str | None:
    """In words; None for a job that isn't queued or only waits for its turn."""
    if job.status != "queued":
        return None
    dataset = session.get_one(Dataset, job.dataset_id)
    if job.kind == "training" and dataset.status != "ready":
        return f"its dataset {dataset.name} is not ready"
    sentences = [*_last_full_disk(session, job), *_hosts(session, job)]
    return "; ".join(sentences) or None


def _last_full_disk(session: Session, job: Job) -> list[str]:
    # Most jobs that are looked at while they wait have not been tried yet.
    attempt = session.get(Attempt, (job.id, job.attempt)) if job.attempt else None
    if attempt is None or attempt.end != "disk" or not attempt.error:
        return []
    return [f"attempt {attempt.number}: {attempt.error.splitlines()[0]}"]


def _hosts(session: Session, job: Job) -> list[str]:
    """What is wrong with the hosts that have a device for the job, where none of them takes any."""
    kind = session.scalars(select(queue.required_kind()).where(Job.id == job.id)).one()
    fitting = {
        device.host for device in leases.devices_view(session) if kind in (None, device.kind)
    }
    workers = [
        worker for worker in leases.workers_view(session) if worker.alive and worker.host in fitting
    ]
    # One host that takes jobs is enough: then the job only waits for its turn, and what is wrong elsewhere
    # does not hold it up.
    if any(worker.claims for worker in workers):
        return []
    reasons = [
        f"{worker.host} {'; '.join(worker.problems) or 'is being stopped'}" for worker in workers
    ]
    needed = f" with a device of kind {kind}" if kind else ""
    return reasons or [f"no worker{needed} is running"]
