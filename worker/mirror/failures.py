"""What becomes of a job, study, file or model that MLflow refuses: noted in SQL, explained, tried again.

Outage
    MLflow does not answer: no failure of the job or study
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from store.db import Mirrored
from store.mlflow import FIRST_PAUSE_SECONDS, Subject, mirror, mirror_problems
from worker.mirror.deletions import Deletions, Erasure, Found
from worker.mirror.experiments import Experiments
from worker.mirror.models import ExportBroken
from worker.mirror.tracking import Tracking, is_refused

log = structlog.get_logger("worker.mirror")

#: How often the mirror searches for what people have deleted or restored in MLflow.
SEARCH_SECONDS = 60.0
#: Characters of an error that are kept as a problem's reason.
LONGEST_REASON = 1000


class Outage(Exception):
    """MLflow does not answer."""


class Failures:
    """One failure must not keep everything else waiting; an outage does."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        tracking: Tracking,
        experiments: Experiments,
        deletions: Deletions,
    ) -> None:
        self._sessions = sessions
        self._tracking = tracking
        self._experiments = experiments
        self._deletions = deletions
        self._erasure = Erasure(sessions, tracking)
        self._next_search = 0.0

    @contextmanager
    def noted(self, subject: Subject, row: Mirrored | None) -> Iterator[None]:
        """What fails inside is recorded as the subject's problem; what succeeds has none any more."""
        with self.recorded(subject, row):
            yield
            with self._sessions.begin() as session:
                mirror_problems.clear(session, subject)

    @contextmanager
    def recorded(self, subject: Subject, row: Mirrored | None) -> Iterator[None]:
        """What fails inside is recorded as the subject's problem."""
        try:
            yield
        except DBAPIError:
            raise
        except Exception as error:
            self.record(subject, row, error)

    def find_deletions(self) -> None:
        """Now and then: a failure of this is logged, the next search may succeed."""
        if time.monotonic() < self._next_search:
            return
        try:
            self._deletions.search()
        except DBAPIError:
            raise
        except Exception as error:
            if not self._tracking.is_up():
                raise Outage(str(error)) from error
            log.warning("deletions_not_seen", exc_info=True)
        self._next_search = time.monotonic() + SEARCH_SECONDS

    def erase(self, settle: Callable[[], None]) -> int:
        """What was deleted in Normlab, once `settle` has returned; how many. A failure of this is logged, the next pass tries again."""
        try:
            return self._erasure.run(settle)
        except DBAPIError:
            raise
        except Exception as error:
            if not self._tracking.is_up():
                raise Outage(str(error)) from error
            log.warning("not_erased", exc_info=True)
            return 0

    def end_pauses(self) -> None:
        with self._sessions.begin() as session:
            mirror_problems.try_now(session)

    def are_waiting(self) -> bool:
        """Whether something could not be mirrored and will be tried again."""
        with self._sessions.begin() as session:
            return mirror_problems.are_waiting(session)

    def record(self, subject: Subject, row: Mirrored | None, error: Exception) -> None:
        """Raises `Outage` where MLflow is away: then the error says nothing about the subject."""
        if not self._tracking.is_up():
            raise Outage(str(error)) from error
        found = self._explain(row) if is_refused(error) else "nothing"
        with self._sessions.begin() as session:
            if found == "deleted":
                mirror_problems.clear(session, subject)
                return
            reason = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
            at_once = found == "repaired"
            first = error.pause if isinstance(error, ExportBroken) else FIRST_PAUSE_SECONDS
            pause = mirror_problems.record_failure(
                session, subject, reason, at_once=at_once, first_pause=first
            )
        log.warning(
            "not_mirrored", kind=subject.kind, **subject.owner, retry_seconds=pause, exc_info=error
        )

    def _explain(self, row: Mirrored | None) -> Found:
        """Whether something was deleted in MLflow, or was and is there again."""
        self._experiments.forget()
        if row is None or not row.run_id:
            return "repaired"
        with self._sessions.begin() as session:
            parent = mirror.parent_of(session, row)
        # The parent is looked at as well: where MLflow was lost, both are created again.
        answers = [self._deletions.explain(one) for one in (row, parent) if one is not None]
        return "repaired" if "repaired" in answers else answers[0]
