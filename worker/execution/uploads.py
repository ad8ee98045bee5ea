"""What an attempt writes, on its way to an object store: by a thread of its own, beside the training.

Only what has arrived gets its row. While the store is away uploads are tried again and the training goes on; a
checkpoint that a later one has replaced meanwhile is left out.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

import structlog

from runtime.storage import Storage, StorageError

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
#: Deletions that wait at the end of an attempt get so long; the sweep does what is left.
LAST_TRY_SECONDS = 5.0
#: Of checkpoints that can be resumed from.
MOST_WAITING = 2

Kind: TypeAlias = Literal["last", "best", "file", "deletion"]
#: Key and digest of a file.
Named: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Upload:
    """Files that get their row together, by `then`; or keys to be deleted."""

    kind: Kind
    files: Sequence[Named]
    then: Callable[[], None] = lambda: None


class Uploads:
    """One after the other, in the order in which they came. `say` writes to the job's log."""

    def __init__(self, storage: Storage, say: Callable[[str, str], None]) -> None:
        self.failure: Exception | None = None
        self._storage = storage
        self._say = say
        self._waiting: list[Upload] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._problem: StorageError | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def add(self, upload: Upload) -> None:
        """Takes it and returns at once."""
        with self._changed:
            self._waiting.append(upload)
            self._changed.notify_all()

    def wait(self, goes_on: Callable[[], bool]) -> Exception | None:
        """Until all has arrived, or nothing `goes_on`; then why something has not."""
        while self._is_sending():
            if self.failure is not None:
                return self.failure
            if not goes_on():
                return self._problem or TimeoutError(
                    f"it takes too long to store in {self._storage}"
                )
            with self._changed:
                self._changed.wait(0.1)
        return self.failure

    def close(self) -> None:
        """What has not arrived never gets a row."""
        deadline = time.monotonic() + LAST_TRY_SECONDS
        with self._changed:
            while self._waiting and self._problem is None and time.monotonic() < deadline:
                self._changed.wait(0.1)
            self._is_closed = True
            self._changed.notify_all()

    def _is_sending(self) -> bool:
        with self._changed:
            return any(one.kind != "deletion" for one in self._waiting)

    def _run(self) -> None:
        while (upload := self._next()) is not None:
            try:
                self._send(upload)
            except StorageError as error:
                self._note_failure(error)
            except Exception as error:  # The job's own thread decides what it means.
                self.failure = error
                return
            else:
                if upload.kind != "deletion":
                    self._note_success()
                if not self._is_closed:
                    upload.then()
                self._remove(upload)

    def _next(self) -> Upload | None:
        with self._changed:
            if self._problem is not None:
                self._changed.wait_for(lambda: self._is_closed, self._pause)
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if self._problem is not None or self._is_behind():
                self._leave_out_superseded()
            return None if self._is_closed else self._waiting[0]

    def _is_behind(self) -> bool:
        """More is saved than can be sent."""
        return sum(one.kind == "last" for one in self._waiting) > MOST_WAITING

    def _send(self, upload: Upload) -> None:
        if upload.kind != "deletion":
            for key, digest in upload.files:
                self._storage.put(key, digest)
            return
        for key, _ in upload.files:
            try:
                self._storage.delete(key)
            except OSError as error:  # No row names it any more: the sweep tries again.
                log.warning("a file could not be deleted", key=key, error=str(error))

    def _remove(self, upload: Upload) -> None:
        with self._changed:
            self._waiting = [one for one in self._waiting if one is not upload]
            self._changed.notify_all()

    def _leave_out_superseded(self) -> None:
        """What waits must not fill the disk: of checkpoints, only the newest and its best weights still matter."""
        kept = newest_only(self._waiting)
        gone = [one for one in self._waiting if not any(one is other for other in kept)]
        self._waiting = list(kept)
        for upload in gone:
            for key, _ in upload.files:
                with suppress(OSError):
                    (self._storage.root / key).unlink(missing_ok=True)

    def _note_failure(self, error: StorageError) -> None:
        if self._problem is None:
            self._pause = FIRST_PAUSE_SECONDS
            log.warning("files can't be stored", error=str(error))
            self._say("warning", f"{error}: training goes on, and what it saves is sent again")
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._problem = error

    def _note_success(self) -> None:
        if self._problem is not None:
            self._problem = None
            self._say("info", f"files are stored in {self._storage} again")


def newest_only(uploads: Sequence[Upload]) -> Sequence[Upload]:
    """Without `last` checkpoints that another one follows, and `best` ones that another follows before it."""
    lasts = [number for number, one in enumerate(uploads) if one.kind == "last"]
    if not lasts:
        return uploads
    bests = [number for number, one in enumerate(uploads[: lasts[-1]]) if one.kind == "best"]
    left_out = {*lasts[:-1], *bests[:-1]}
    return [one for number, one in enumerate(uploads) if number not in left_out]
