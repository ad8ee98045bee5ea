"""One worker per host name, however many machines are called alike: the name is locked in SQL."""

import os
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import structlog

from runtime.process import NO_TERMINATION, Termination
from store.db import DATABASE_AWAY
from store.hosts import Holder, NameSession, open_session
from store.jobs import Instance

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
#: How often a lost lock is asked for again.
KEEP_SECONDS = 1.0
#: How often a session is checked that the server has not ended: its network may be gone.
CHECK_SECONDS = 10.0
#: The most workers that may share a name with `{n}`.
MOST_NUMBERED = 1000


def make_instance() -> Instance:
    """This start of this process."""
    return Instance(uuid.uuid4().hex, os.getpid(), socket.gethostname(), find_namespace())


def is_gone(holder: Holder, mine: Instance) -> bool:
    """Whether the holder's processes are known to have ended.

    The processes of another machine or container can't be seen: False.
    """
    if holder.has_ended:
        return True
    if holder.namespace != mine.namespace:
        return False
    if holder.process == mine.process:
        return True
    try:
        return psutil.Process(holder.process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


class HostName:
    """A host's name, held by this instance from `take` to `release`.

    A name with `{n}` in it is a pattern, numbered from 1: the first one that no other worker has.
    The session that holds the lock is opened before the fork and used by the parent alone. The children inherit its
    socket, so the lock of a killed parent is free once the last of them has ended, too.
    """

    def __init__(self, url: str, name: str, mine: Instance) -> None:
        self._url = url
        self._candidates = _number(name)
        #: The name itself, once taken.
        self.host = self._candidates[0]
        self._mine = mine
        self._session: NameSession | None = None
        self._is_locked = False
        self._has_warned = False
        self._stop = threading.Event()
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._thread: threading.Thread | None = None

    def take(
        self, patience_seconds: float, termination: Termination = NO_TERMINATION
    ) -> Holder | None:
        """Returns who had the name before; it has ended, or was silent for long. Waits for an absent database.

        Raises SystemExit, with what to do, when another worker keeps the name.
        """
        until: float | None = None
        while True:
            termination.check()
            try:
                is_ours, previous = self._try_to_take()
            except DATABASE_AWAY as error:
                self._drop_session()
                log.warning("waiting for the database", error=str(error))
                time.sleep(1)
                until = None
                continue
            if is_ours:
                return previous
            until = until or time.monotonic() + patience_seconds
            if time.monotonic() > until:
                self._drop_session()
                raise SystemExit(self._refusal(previous))
            if not self._has_warned:
                log.info("waiting for another worker of this host to end", host=self.host)
                self._has_warned = True
            time.sleep(RETRY_SECONDS)

    def keep(self, when_taken: Callable[[], None]) -> None:
        """Starts the thread that takes the lock again whenever its session is lost: after the fork.

        `when_taken` is called once, when another instance has registered under the name meanwhile.
        """
        self._has_warned = False
        self._thread = threading.Thread(
            target=self._keep, args=(when_taken,), name="host name", daemon=True
        )
        self._thread.start()

    def release(self) -> None:
        """Ends the thread and frees the lock."""
        self._stop.set()
        # Not only closed: children that still live have inherited it.
        with suppress(OSError):
            self._stop_writer.shutdown(socket.SHUT_RDWR)
        self._stop_writer.close()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._stop_reader.close()
        self._drop_session()

    def _try_to_take(self) -> tuple[bool, Holder | None]:
        """Whether a name is ours now, and who registered last under the name that is, or that was asked for last."""
        session = self._open_session()
        for host in self._candidates:
            self.host = host
            is_locked = session.try_lock(host)
            previous = session.find_holder(host)
            if not is_locked:
                continue
            if previous is None or not previous.may_live or is_gone(previous, self._mine):
                self._is_locked = True
                return True, previous
            # It may have lost its session in a restart of the server: it gets the time to take its name again.
            session.unlock(host)
            break
        return False, previous

    def _keep(self, when_taken: Callable[[], None]) -> None:
        while not self._pause():
            try:
                if self._is_taken():
                    self._drop_session()
                    when_taken()
                    return
            except DATABASE_AWAY as error:
                self._drop_session()
                self._warn(
                    "the session that holds the host's name is lost", error=_first_line(error)
                )
            except Exception:  # The name must be kept, whatever goes wrong with one check.
                self._drop_session()
                log.exception("the host's name could not be looked after", host=self.host)

    def _pause(self) -> bool:
        """Until the session should be checked; True when that has come to an end."""
        if self._session is None or not self._is_locked:
            return self._stop.wait(KEEP_SECONDS)
        # A session that is lost is noticed at once: its end of the socket is closed then.
        sources: list[NameSession | socket.socket] = [self._session, self._stop_reader]
        select.select(sources, (), (), CHECK_SECONDS)
        return self._stop.is_set()

    def _is_taken(self) -> bool:
        """Reads who holds the name, which also shows that the session is alive; takes a lost lock again."""
        session = self._open_session()
        had_lock = self._is_locked
        self._is_locked = had_lock or session.try_lock(self.host)
        holder = session.find_holder(self.host)
        if holder is not None and holder.instance != self._mine.id:
            return True
        if not self._is_locked:
            # By our own last session, as long as the server believes that it lives, or by a newcomer that waits.
            self._warn("the host's name is locked by another session: trying again")
        elif not had_lock:
            log.info("the host's name is locked again", host=self.host)
            self._has_warned = False
        return False

    def _open_session(self) -> NameSession:
        if self._session is None:
            self._session = open_session(self._url)
        return self._session

    def _drop_session(self) -> None:
        self._is_locked = False
        if self._session is not None:
            self._session.close()
            self._session = None

    def _warn(self, event: str, **details: str) -> None:
        if not self._has_warned:
            log.warning(event, host=self.host, **details)
        self._has_warned = True

    def _refusal(self, holder: Holder | None) -> str:
        mine = f"process {self._mine.process} on {self._mine.machine}"
        remedy = (
            f"Two workers cannot share a name: set NORMLAB_HOST_NAME to another name for this worker ({mine}), "
            "or stop the other one."
        )
        if holder is None:
            return f"The host name {self.host!r} is in use by a worker that is starting. {remedy}"
        address = f" at {holder.address}" if holder.address else ""
        return (
            f"The host name {self.host!r} is in use by another worker: process {holder.process} on "
            f"{holder.machine or 'a machine that it did not name'}{address}, since "
            f"{holder.started_at:%Y-%m-%d %H:%M:%S} UTC, last seen {holder.seen_seconds_ago:.0f} s ago. {remedy}"
        )


def _first_line(error: Exception) -> str:
    """Without the statement, which says nothing here."""
    return str(error).split("\n", 1)[0]


def _number(name: str) -> list[str]:
    if "{n}" not in name:
        return [name]
    return [name.replace("{n}", str(number)) for number in range(1, MOST_NUMBERED + 1)]


def find_namespace() -> str:
    """In which process ids are comparable: one boot of one kernel, and there one namespace (a container's)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{uuid.getnode():012x} {psutil.boot_time():.0f}"
