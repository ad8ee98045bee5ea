"""From a job's events to fenced rows, by a thread of its own: training never waits for SQL."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import Storage
from store.db import DATABASE_AWAY
from store.jobs import commands
from trainer.events import (
    CheckpointSaved,
    Diagnosed,
    EpochFinished,
    EvaluationFinished,
    Event,
    FileWritten,
    Started,
)
from worker.execution.uploads import Kind, Upload, Uploads

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
#: So long after a recorder was given up, it may say that it has written everything after all.
ANSWER_SECONDS = 1.0
#: What comes within this time after the first event is written with it, in one transaction.
GATHERING_SECONDS = 0.5

#: What one transaction does; what it returns are files (relative to the storage) nobody names any more.
Write = Callable[[Session], list[str] | None]
#: Level and text of a line for the job's log.
Line = tuple[str, str]
Entry: TypeAlias = Write | EpochFinished | Line


class NotPrepared(Exception):
    """A write needs what takes too long for a transaction: it is written again after `prepare`."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        super().__init__("what the write needs isn't there yet")
        self.prepare = prepare


def write_alone(sessions: sessionmaker[Session], write: Write) -> None:
    """In a transaction of its own, and again as long as it isn't prepared."""
    while True:
        try:
            with sessions.begin() as session:
                write(session)
            return
        except NotPrepared as error:
            error.prepare()


class Recorder:
    """Writes in order, several at once in one transaction, again and again while the database is away. Files for an
    object store are written once they have arrived there.

    After a lost lease it writes nothing more: whatever is still waiting is discarded.
    """

    def __init__(
        self, sessions: sessionmaker[Session], storage: Storage, job: int, attempt: int
    ) -> None:
        self._failure: Exception | None = None
        self._sessions = sessions
        self._storage = storage
        self._job = job
        self._attempt = attempt
        self._waiting: list[Entry] = []
        self._changed = threading.Condition()
        self._closed = False
        self._away = self._has_begun = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._uploads = Uploads(storage, self.say) if storage.is_remote else None
        self._thread.start()

    @property
    def failure(self) -> Exception | None:
        """What made a write impossible, for another reason than an absent database or object store."""
        uploading = None if self._uploads is None else self._uploads.failure
        return self._failure or uploading

    def record(self, event: Event) -> None:
        """Takes the event and returns at once."""
        job, attempt = self._job, self._attempt
        match event:
            case Started():
                damaged = tuple(self._relative(path) for path in event.damaged)
                started = replace(event, damaged=damaged)
                self._add(lambda session: commands.record_start(session, job, attempt, started))
            case EpochFinished():
                self._add(event)
            case Diagnosed():
                self._add(lambda session: commands.record_diagnosis(session, job, attempt, event))
            case CheckpointSaved():
                saved = replace(event, path=self._relative(event.path))
                self._add_stored(
                    saved.kind,
                    [saved],
                    lambda session: commands.record_checkpoint(session, job, attempt, saved),
                )
            case EvaluationFinished():
                files = tuple(replace(file, path=self._relative(file.path)) for file in event.files)
                done = replace(event, files=files)
                self._add_stored(
                    "file",
                    files,
                    lambda session: commands.record_evaluation(session, job, attempt, done),
                )
            case _:
                pass

    def say(self, level: str, text: str) -> None:
        """One line for the job's log."""
        self._add((level, text))

    def wait_for_uploads(self, goes_on: Callable[[], bool]) -> Exception | None:
        """Why something has not arrived when nothing `goes_on`; None once all has."""
        return None if self._uploads is None else self._uploads.wait(goes_on)

    def close(self, last: Write | None = None, *, give_up: Callable[[], bool]) -> bool:
        """Write `last` after all that waits, then end; False when given up before it was written.

        Raises what made a write impossible for another reason than an absent database.
        """
        with self._changed:
            if last is not None:
                self._waiting.append(last)
            # In the same critical section as the last write, so that no event slips in behind it.
            self._closed = True
            self._changed.notify()
        # Joined in short steps, since a drain or a lost lease must be able to end the wait while
        # the database is away.
        while self._thread.is_alive() and not give_up():
            self._thread.join(0.05)
        # The last write ends the lease: what looks lost may be ours, with the commit's answer on its way.
        self._thread.join(ANSWER_SECONDS)
        written = not self._thread.is_alive()
        with self._changed:
            self._waiting.clear()
        if self._uploads is not None:
            self._uploads.close()
        if self._failure is not None:
            raise self._failure
        return written

    def _relative(self, path: str) -> str:
        return str(Path(path).relative_to(self._storage.root))

    def _add_stored(
        self, kind: Kind, files: Sequence[CheckpointSaved | FileWritten], write: Write
    ) -> None:
        if self._uploads is None:
            self._add(write)
            return
        named = [(one.path, one.digest) for one in files]
        self._uploads.add(Upload(kind, named, lambda: self._add(write)))

    def _add(self, write: Entry) -> None:
        with self._changed:
            # After the last write the attempt is over: another in its transaction would undo it.
            if not self._closed:
                self._waiting.append(write)
                self._changed.notify()

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                obsolete = self._write_or_prepare(batch)
            except DATABASE_AWAY as error:
                self._note_absence(error)
                time.sleep(RETRY_SECONDS)
            except Exception as error:  # The job's own thread decides what a refused write means.
                self._failure = error
                return
            else:
                self._away = False
                with self._changed:
                    # Only what was committed; events that came meanwhile were appended behind it.
                    del self._waiting[: len(batch)]
                # After the commit: were it rolled back, rows would name files that are gone.
                self._delete(obsolete)

    def _next_batch(self) -> list[Entry]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            # The start is written at once: it sets the job's step, which the heartbeat then raises.
            if self._has_begun:
                self._changed.wait_for(lambda: self._closed, GATHERING_SECONDS)
            self._has_begun = True
            return list(self._waiting)

    def _write_or_prepare(self, batch: list[Entry]) -> list[str]:
        while True:
            try:
                return self._write(batch)
            except NotPrepared as error:
                error.prepare()

    def _write(self, batch: list[Entry]) -> list[str]:
        obsolete: list[str] = []
        lines = [line for line in batch if isinstance(line, tuple)]
        writes = [write for write in batch if not isinstance(write, tuple)]
        with self._sessions.begin() as session:
            # First: the last write ends the attempt, and nothing can be said in its name afterwards.
            if lines:
                commands.record_log(session, self._job, self._attempt, lines)
            # Epochs that follow one another are one statement.
            for _, group in groupby(writes, type):
                same = list(group)
                if epochs := [one for one in same if isinstance(one, EpochFinished)]:
                    commands.record_epochs(session, self._job, self._attempt, epochs)
                for write in same:
                    if not isinstance(write, EpochFinished):
                        obsolete += write(session) or ()
        return obsolete

    def _delete(self, paths: list[str]) -> None:
        if self._uploads is not None:
            if paths:
                self._uploads.add(Upload("deletion", [(path, "") for path in paths]))
            return
        for path in paths:
            try:
                self._storage.delete(path)
            except OSError as error:  # No row names it any more: the sweep tries again.
                log.warning("a file could not be deleted", path=path, error=str(error))

    def _note_absence(self, error: Exception) -> None:
        # Once, and after the state is set: the warning itself becomes one more waiting line.
        if not self._away:
            self._away = True
            log.warning("the database is away: what happened waits in memory", error=str(error))
