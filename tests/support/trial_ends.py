"""Ends of jobs as a worker's recorder writes them."""

from sqlalchemy.orm import Session

from store.jobs.acquire import Assignment
from worker.execution.outcome import NetworkChecks, Outcome, record_outcome
from worker.execution.recorder import NotPrepared


def end_job(session: Session, assignment: Assignment, outcome: Outcome) -> None:
    """Written again once the networks of the trials that follow are looked at."""
    checks = NetworkChecks()
    while True:
        try:
            with session.begin_nested():
                record_outcome(session, assignment, outcome, 1.0, checks=checks)
            return
        except NotPrepared as error:
            error.prepare()
