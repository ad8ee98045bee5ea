"""Webhooks, what they are told of, and what became of it; for the tests of the sweep."""

import json
from ipaddress import ip_network
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import users
from store.db.models import Delivery, EndedJob, Study, User
from store.jobs import commands
from store.jobs.commands import NewJob
from store.studies import studies
from store.webhooks import NewTarget, targets
from studies.spec.expand import expand
from studies.spec.study import read_study
from tests.support import documents
from tests.support.factories import (
    acquire_job,
    finish_training,
)
from tests.support.receiver import Receiver

Sessions = sessionmaker[Session]
LOOPBACK = (ip_network("127.0.0.0/8"),)


def register(session: Session, user: User, url: str, **options: Any) -> tuple[int, str]:
    """Of a new webhook, its id and its secret."""
    token, _ = users.create_token(session, user, "test")
    new = NewTarget(url=url, **{"format": "standard", **options})
    webhook, secret = targets.create(session, user, token, new)
    return webhook.id, secret


def submit(session: Session, owner: User, *, reuse: bool = False, **changes: Any) -> Study:
    """A real study of four cells."""
    spec = read_study(documents.study(**changes))
    cells = [
        NewJob(cell.spec, cell.name, cell.variant, cell.point, reuse=reuse) for cell in expand(spec)
    ]
    document = spec.model_dump(mode="json")
    return studies.create(session, owner, document, spec.project, spec.name, cells)


def train(sessions: Sessions) -> None:
    """All that is queued."""
    while True:
        with sessions.begin() as session:
            job = acquire_job(session)
            if job is None:
                return
            finish_training(session, job)


def fail(session: Session, error: str) -> int:
    """The next job, for good."""
    job = acquire_job(session)
    assert job is not None
    commands.fail(session, job.job_id, job.attempt, reason="error", error=error)
    return job.job_id


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for _, _, body in receiver.seen]


def count(sessions: Sessions, table: type[Delivery] | type[EndedJob]) -> int:
    with sessions.begin() as session:
        return session.scalars(select(func.count()).select_from(table)).one()
