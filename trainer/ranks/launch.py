"""The side of whoever wants a training on several devices: it gets the events, and the processes end with it."""

import logging
import signal
import socket
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from runtime.helper_process import start_preloaded
from runtime.supervision import count_oom_kills, describe_exit, kill_group, wait_for_exit
from trainer.data import ensure_decoded
from trainer.errors import RankOutOfMemory, RanksError
from trainer.events import CheckpointSaved, Event, StopRequest
from trainer.ranks.messages import Ended, Exited, Failed, Logged, Work
from trainer.spec import DatasetInfo, JobSpec, Numerics

log = logging.getLogger(__name__)

#: When a rank fails the others do, too: for so long all are listened to, for the one that was first.
_CAUSE_SECONDS = 2.0
#: An abandoned training deletes files that nothing names; then it is killed.
_GOODBYE_SECONDS = 5.0


class _RankTraceback(Exception):
    """Where a rank's error was raised: shown as its cause."""


def train_on_ranks(
    spec: JobSpec,
    info: DatasetInfo,
    datasets: Path,
    folder: Path,
    *,
    numerics: Numerics,
    devices: Sequence[str],
    resume: Sequence[CheckpointSaved] = (),
    initial: CheckpointSaved | None = None,
) -> Generator[Event, StopRequest | None, None]:
    """As `trainer.training.train`, by a process for each of the devices (`cpu`, `cuda:1`), none of them this one.

    Raises what a rank has raised, and RanksError where one was killed; RankOutOfMemory where that was the kernel.
    However this ends, by an error or a closed generator, and also when this process is killed, no process is left.
    `datasets` is where they are decoded.
    """
    # Once, before all ranks would at the same time.
    ensure_decoded(info, datasets)
    work = Work(
        spec=spec.model_dump(mode="json"),
        info=info.model_dump(mode="json"),
        numerics=numerics.model_dump(mode="json"),
        datasets=datasets.absolute(),
        folder=folder,
        devices=tuple(devices),
        resume=tuple(resume),
        initial=initial,
    )
    with RankProcesses(work) as ranks:
        while (event := ranks.receive()) is not None:
            ranks.answer((yield event))


class RankProcesses:
    """A process that forks the ranks (`trainer.ranks.__main__`), and a connection to each of them.

    All of them, and what they start, are one group, which that process leads.
    """

    def __init__(self, work: Work) -> None:
        self._oom_kills = count_oom_kills()
        pairs = [socket.socketpair() for _ in work.devices]
        control, theirs = socket.socketpair()
        try:
            # What a library prints is no event of ours: standard output is the caller's.
            self._process: psutil.Process = start_preloaded(
                [sys.executable, "-m", "trainer.ranks"],
                stdin=theirs.fileno(),
                stdout=2,
                own_session=True,
            )
            socket.send_fds(control, [b"\0"], [far.fileno() for _, far in pairs])
        finally:
            theirs.close()
            for _, far in pairs:
                far.close()
        self._control = Connection(control.detach())
        self._ranks = [Connection(near.detach()) for near, _ in pairs]
        self._open = [self._control, *self._ranks]
        self._control.send(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        # Rank 0 waits for an answer, and finds that there will be none.
        self._ranks[0].close()
        if kind is GeneratorExit:
            self._wait_for_goodbye()
        kill_group(self._process)
        wait_for_exit(self._process)
        for connection in (self._control, *self._ranks[1:]):
            connection.close()

    def receive(self) -> Event | None:
        """The next event, for which rank 0 wants an answer; None after the last one."""
        while True:
            for message in self._listen(None):
                match message:
                    case Ended():
                        return None
                    case Failed() | Exited():
                        raise self._find_cause(message)
                    case Logged(level=level, text=text):
                        log.log(level, "%s", text)
                    case _:
                        event: Event = message
                        return event

    def answer(self, request: StopRequest | None) -> None:
        # It may have ended meanwhile: `receive` says so.
        with suppress(OSError):
            self._ranks[0].send(request)

    def _listen(self, seconds: float | None) -> Sequence[Any]:
        """One message of each process that has said something. Of the forking one the end is a message, too."""
        messages = []
        for ready in wait(self._open, seconds):
            assert isinstance(ready, Connection)
            try:
                messages.append(ready.recv())
            except (EOFError, OSError):
                self._open.remove(ready)
                if ready is self._control:
                    messages.append(Exited(-1, wait_for_exit(self._process) or 0))
        # Rank 0's last, or an event would be returned and what was said beside it lost.
        return sorted(messages, key=lambda one: isinstance(one, Event | Ended))

    def _find_cause(self, first: Failed | Exited) -> Exception:
        """Of all that follows from one another: a rank that was killed, or else the error that was raised first."""
        reports = [first]
        deadline = time.monotonic() + _CAUSE_SECONDS
        while self._open and (left := deadline - time.monotonic()) > 0:
            if any(isinstance(one, Exited) and one.code < 0 for one in reports):
                break
            reports += [one for one in self._listen(left) if isinstance(one, Failed | Exited)]
        errors = sorted((one for one in reports if isinstance(one, Failed)), key=lambda one: one.at)
        exits = [one for one in reports if isinstance(one, Exited) and (one.code < 0 or not errors)]
        if exits:
            return self._describe_death(exits[0])
        error = errors[0].error
        error.__cause__ = _RankTraceback(f"\n{errors[0].text}")
        return error

    def _describe_death(self, exited: Exited) -> RanksError:
        who = f"rank {exited.rank}" if exited.rank >= 0 else "the process that starts the ranks"
        # Whoever is killed by SIGKILL while the kernel kills for memory was most likely its victim.
        if exited.code == -signal.SIGKILL and count_oom_kills() > self._oom_kills:
            return RankOutOfMemory(f"{who} was killed by the kernel: it was out of memory")
        return RanksError(f"{who} {describe_exit(exited.code)}")

    def _wait_for_goodbye(self) -> None:
        deadline = time.monotonic() + _GOODBYE_SECONDS
        self._open = [self._control]
        while self._open and (left := deadline - time.monotonic()) > 0:
            if any(isinstance(one, Exited) and one.rank <= 0 for one in self._listen(left)):
                return
