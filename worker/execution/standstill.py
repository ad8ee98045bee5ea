"""Ends a process in which no thread can run, because one of them keeps the interpreter's lock for ever."""

import faulthandler
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from runtime.files import is_abandoned, mark_in_use


class Standstill:
    """While open: once no thread could run for so many seconds, the process writes its stacks to the file and ends.

    A thread of Python's puts that off again and again; a thread of C's, which needs no lock, does it. Where the
    file can't be made, nothing is watched.
    """

    def __init__(self, seconds: float, path: Path) -> None:
        self._seconds = seconds
        self._path = path
        self._file: IO[str] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="standstill", daemon=True)

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._file = self._path.open("w")
            mark_in_use(self._file.fileno())
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        with suppress(OSError):
            self._path.unlink()

    def _run(self) -> None:
        assert self._file is not None
        while not self._stop.is_set():
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._file)
            self._stop.wait(self._seconds / 4)


def stacks_file(process: int, instance: str | None) -> Path:
    """Known to a child and to its parent; nobody else can guess the instance and make it before."""
    return Path(tempfile.gettempdir()) / f"normlab-{instance}-{process}.stacks"


def read_stacks(process: int, instance: str | None) -> str:
    """What a process that has ended itself wrote; empty for all others."""
    with suppress(OSError):
        return stacks_file(process, instance).read_text()
    return ""


def forget_stacks(process: int, instance: str | None) -> None:
    """Also the empty file of a process that was killed."""
    with suppress(OSError):
        stacks_file(process, instance).unlink()


def forget_abandoned_stacks() -> None:
    """Of processes whose parent died, too, whatever workers they were of."""
    for path in Path(tempfile.gettempdir()).glob("normlab-*.stacks"):
        if is_abandoned(path):
            with suppress(OSError):  # Another user's.
                path.unlink()
