"""What keeps a queued job from starting, other than the jobs before it."""

from sqlalchemy.orm import Session

from store import leases
from store.models import Attempt, Dataset, Job


def find_obstacle(session: Session, job: Job) -> str | None:
    """In words; None for a job that isn't queued or only waits for its turn."""
    if job.status != "queued":
        return None
    dataset = session.get_one(Dataset, job.dataset_id)
    if job.kind == "training" and dataset.status != "ready":
        return f"its dataset {dataset.name} is not ready"
    sentences = [*_last_full_disk(session, job), *_hosts(session)]
    return "; ".join(sentences) or None


def _last_full_disk(session: Session, job: Job) -> list[str]:
    attempt = session.get(Attempt, (job.id, job.attempt))
    if attempt is None or attempt.end != "disk" or not attempt.error:
        return []
    return [f"attempt {attempt.number}: {attempt.error.splitlines()[0]}"]


def _hosts(session: Session) -> list[str]:
    """What is wrong with the hosts, where none of them takes any job."""
    workers = [worker for worker in leases.workers_view(session) if worker.alive]
    if any(worker.claims for worker in workers):
        return []
    reasons = [
        f"{worker.host} {'; '.join(worker.problems) or 'is being stopped'}" for worker in workers
    ]
    return reasons or ["no worker is running"]
