"""Rotation of the logs of running processes, and what the supervisor says to its own.

The processes write to descriptors that they inherited, and children of theirs do, too, so a log can't be
renamed under them: it is copied and emptied. They append, so their next line is the emptied log's first.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from normlab.home import LogLimits

_LOOK_SECONDS = 5.0
_BLOCK_BYTES = 10**6


def rotate(log: Path, limits: LogLimits) -> None:
    """Moves what the log holds to `.1` and the older pieces up; the oldest goes.

    What a process writes in the instant between the last read and the cut is lost. An OSError, such as
    that of a full disk, leaves the log as it is.
    """
    try:
        if log.stat().st_size < limits.size:
            return
    except FileNotFoundError:
        return
    # Room first: the oldest piece goes before a new one of the same size is written.
    _delete_from(log, limits.kept)
    unfinished = log.with_name(f"{log.name}.new")
    try:
        with log.open("rb") as source, unfinished.open("wb") as target:
            _copy_present(source, target)
            for number in range(limits.kept - 1, 0, -1):
                if (older := older_piece(log, number)).exists():
                    older.replace(older_piece(log, number + 1))
            unfinished.replace(older_piece(log, 1))
            # Once more, for what was written while the pieces were renamed: the shorter the time to the cut, the
            # less is lost.
            _copy_present(source, target)
            os.truncate(log, 0)
    finally:
        unfinished.unlink(missing_ok=True)


def older_piece(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def _delete_from(log: Path, number: int) -> None:
    """Also those of an earlier, larger limit."""
    for piece in log.parent.glob(f"{log.name}.*"):
        suffix = piece.name.removeprefix(f"{log.name}.")
        if suffix.isdecimal() and int(suffix) >= number:
            piece.unlink()


def _copy_present(source: IO[bytes], target: IO[bytes]) -> None:
    """To the end as it is now: a process that writes without a pause has none."""
    left = os.fstat(source.fileno()).st_size - source.tell()
    while left > 0 and (block := source.read(min(left, _BLOCK_BYTES))):
        target.write(block)
        left -= len(block)
    target.flush()


@contextmanager
def bounded_logs(
    folder: Path,
    limits: LogLimits,
    log_error: Callable[[str], None],
    seconds: float = _LOOK_SECONDS,
) -> Iterator[None]:
    """Looks after all logs in `folder`, every five seconds, until the block ends."""
    over = threading.Event()

    def look() -> None:
        failed: set[Path] = set()
        while not over.wait(seconds):
            for log in folder.glob("*.log"):
                try:
                    rotate(log, limits)
                    failed.discard(log)
                except OSError as error:
                    # Once per log, not at every look.
                    if log not in failed:
                        log_error(f"{log} has reached its limit and can't be rotated: {error}")
                    failed.add(log)

    thread = threading.Thread(target=look, name="logs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def log_error(text: str) -> None:
    """To the supervisor's own log; in the foreground that is a terminal, which may be gone."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def show_nothing(state: Mapping[str, Any]) -> None:
    """Takes the place of a `show` that has failed."""


def log_remarks() -> Callable[[Mapping[str, Any]], None]:
    said: set[str] = set()

    def show(state: Mapping[str, Any]) -> None:
        for remark in state["remarks"]:
            if remark not in said:
                said.add(remark)
                log_error(remark)

    return show
