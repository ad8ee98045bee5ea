"""`python -m trainer.ranks`: imports what trains, once, and forks a rank for each device.

Standard input is a socket: it brings the ranks' own sockets and the work, and takes how each rank ended. When its
other side goes away, all of this group is killed: ranks, and whatever they have started.
"""

import os
import select
import signal
import socket
import warnings
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

from runtime.process import end_with_parent
from trainer.ranks.messages import Exited, Work
from trainer.ranks.rank import MeetingPoint, run_rank

_MOST_RANKS = 253


def main() -> None:
    # The signal of the parent's death comes at once; where that was before it was asked for, standard input ends.
    signal.signal(signal.SIGTERM, lambda *_: _kill_group())
    end_with_parent(signal.SIGTERM)
    control, sockets = _take_standard_input()
    if not sockets:
        return
    with suppress(EOFError, OSError):
        work: Work = control.recv()
        _watch(control, _fork_ranks(control, work, sockets))
    _kill_group()


def _take_standard_input() -> tuple[Connection, Sequence[int]]:
    """The socket that it is, and those that have come with the first byte; nothing reads standard input by accident."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _, sockets, *_ = socket.recv_fds(control, 1, _MOST_RANKS)
    return Connection(control.detach()), sockets


def _fork_ranks(control: Connection, work: Work, sockets: Sequence[int]) -> dict[int, int]:
    """The ranks by their process ids."""
    ranks: dict[int, int] = {}
    with MeetingPoint(len(sockets)) as meeting:
        for rank in range(len(sockets)):
            with warnings.catch_warnings():
                # A library's allocator keeps a thread of its own, and prepares itself for forks.
                warnings.simplefilter("ignore", DeprecationWarning)
                leader, pid = os.getpid(), os.fork()
            if pid == 0:
                _become_rank(control, work, rank, sockets, leader, meeting)
            ranks[pid] = rank
    for one in sockets:
        os.close(one)
    return ranks


def _become_rank(
    control: Connection,
    work: Work,
    rank: int,
    sockets: Sequence[int],
    leader: int,
    meeting: MeetingPoint,
) -> NoReturn:
    """It never returns into the loop of the process that forked it."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent()
        # It may have ended before it was asked for.
        if os.getppid() != leader:
            os._exit(1)
        control.close()
        for number, one in enumerate(sockets):
            if number != rank:
                os.close(one)
        os._exit(run_rank(work, rank, Connection(sockets[rank]), meeting))
    finally:
        os._exit(1)


def _watch(control: Connection, ranks: dict[int, int]) -> None:
    """Tells how ranks end, until the other side goes away."""
    signals, signalled = socket.socketpair()
    for one in (signals, signalled):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(signalled.fileno())
    while True:
        # First, since one may have ended before the signal was waited for.
        for rank, code in _reap(ranks):
            control.send(Exited(rank, code))
        ready, _, _ = select.select([control.fileno(), signals.fileno()], (), ())
        if control.fileno() in ready:
            return
        signals.recv(4096)


def _reap(ranks: dict[int, int]) -> Sequence[tuple[int, int]]:
    ended = []
    while ranks:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        if pid in ranks:
            ended.append((ranks.pop(pid), os.waitstatus_to_exitcode(status)))
    return ended


def _kill_group() -> NoReturn:
    # This process leads it, if it was started as it should be: never somebody else's group.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
