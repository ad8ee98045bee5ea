"""Single jobs that are submitted at the same moment, accepted in one transaction."""

import threading
from dataclasses import dataclass, field

from sqlalchemy.orm import Session, sessionmaker

from store.db import DATABASE_AWAY, Job
from store.jobs.creation import Submission, accept


@dataclass(eq=False, slots=True)
class _Entry:
    """A submission and what became of it; `called` once that is known, or once it is its turn to commit."""

    submission: Submission
    called: threading.Event = field(default_factory=threading.Event)
    job: Job | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.job is not None or self.error is not None


@dataclass(eq=False, slots=True)
class _Line:
    """What waits for the next transaction, and whether one is under way."""

    waiting: list[_Entry] = field(default_factory=list)
    is_busy: bool = False


class Intake:
    """Group commit: what is submitted while a transaction is being committed goes into the next one together.

    A commit waits for the disk, and commits that notify wait for one another (PostgreSQL's `NOTIFY` takes a lock),
    so a transaction for each of many requests at once would take longer than one for all. Safe for many threads.
    """

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        #: By dataset: while somebody holds a dataset's lock, jobs on it wait, and no others.
        self._lines: dict[int, _Line] = {}

    @property
    def is_busy(self) -> bool:
        return any(line.is_busy for line in list(self._lines.values()))

    @property
    def waiting(self) -> int:
        """How many submissions wait for the next transaction."""
        return sum(len(line.waiting) for line in list(self._lines.values()))

    def accept(self, submission: Submission) -> Job:
        """The job, once it is committed; raises as `creation.accept`."""
        entry = _Entry(submission)
        with self._lock:
            line = self._lines.setdefault(submission.dataset.id, _Line())
            line.waiting.append(entry)
            if not line.is_busy:
                line.is_busy = True
                entry.called.set()
        entry.called.wait()
        if not entry.is_done:
            self._commit_waiting(line)
        if entry.error is not None:
            raise entry.error
        assert entry.job is not None
        return entry.job

    def _commit_waiting(self, line: _Line) -> None:
        with self._lock:
            entries, line.waiting = line.waiting, []
        try:
            self._commit(entries)
        finally:
            with self._lock:
                # Each commits once at most: whoever came first since then is the next to do it for all.
                line.is_busy = bool(line.waiting)
                called = [*entries, *line.waiting[:1]]
            for entry in called:
                entry.called.set()

    def _commit(self, entries: list[_Entry]) -> None:
        try:
            with self._sessions.begin() as session:
                jobs = accept(session, [entry.submission for entry in entries])
        except Exception as error:
            # One that can't be accepted must not refuse the others. A database that is away refuses all alike.
            if len(entries) == 1 or isinstance(error, DATABASE_AWAY):
                for entry in entries:
                    entry.error = error
            else:
                for entry in entries:
                    self._commit([entry])
        else:
            for entry, job in zip(entries, jobs, strict=True):
                entry.job = job
