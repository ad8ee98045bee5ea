"""What a test does to a machine: processes stand still; a disk is full, memory runs out, where that is allowed."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from tests.support.waiting import wait_for

_BLOCK = 4096
_GROUPS = Path("/sys/fs/cgroup")


class NotMadeHere(Exception):
    """This machine doesn't allow it; the message says what."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A small file system of its own on a folder."""

    folder: Path

    @classmethod
    def mount(cls, folder: Path, megabytes: int = 512) -> Self | None:
        """None where that isn't allowed. What is in the folder is hidden until it is unmounted."""
        if os.geteuid() != 0 or shutil.which("mount") is None:
            return None
        options = f"size={megabytes}m,mode=0700"
        command = ["mount", "-t", "tmpfs", "-o", options, "normlab-faults", str(folder)]
        done = subprocess.run(command, check=False, capture_output=True)
        return cls(folder) if done.returncode == 0 else None

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Full all the time: also what others delete is taken at once."""
        filler, over = self.folder / "filler", threading.Event()

        def fill() -> None:
            with filler.open("ab", buffering=0) as file:
                while not over.wait(0.01):
                    for size in (256 * _BLOCK, _BLOCK):
                        with suppress(OSError):
                            while not over.is_set():
                                file.write(b"\0" * size)

        thread = threading.Thread(target=fill)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        # Refused while a file is being written.
        wait_for(lambda: self._remount("ro"), f"{self.folder} is read-only", pause=0.01)
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, option: str) -> bool:
        command = ["mount", "-o", f"remount,{option}", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A control group with a limit: what its processes take from when they join it counts, not what they had."""

    folder: Path

    @classmethod
    def make(cls, megabytes: int) -> Self | None:
        """None where that isn't allowed."""
        # Version 1 has a tree of its own for memory; in version 2 its parent must have handed memory on.
        if (_GROUPS / "memory").is_dir():
            parent, limit = _GROUPS / "memory", "memory.limit_in_bytes"
        else:
            parent, limit = _GROUPS, "memory.max"
        group = cls(parent / f"normlab-faults-{os.getpid()}")
        try:
            group.folder.mkdir()
        except OSError:
            return None
        try:
            (group.folder / limit).write_text(str(megabytes * 2**20))
        except OSError:
            group.folder.rmdir()
            return None
        return group

    def take(self, process: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(process))

    def remove(self) -> None:
        """Once its processes are gone."""

        def is_removed() -> bool:
            with suppress(OSError):
                self.folder.rmdir()
            return not self.folder.exists()

        wait_for(is_removed, f"{self.folder} is empty")


@contextmanager
def frozen(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """They stand still, and go on afterwards."""
    for process in processes:
        _signal(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            _signal(process, signal.SIGCONT)


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
