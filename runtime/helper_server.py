"""The parent's side of `runtime.fork_server`: helpers, forked by a process that has loaded their libraries.

Each end of a socket pair sees the other's end, however that comes.
"""

import math
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import psutil

from runtime.helper_process import HelperProcess, receive_line, start_preloaded
from runtime.preloaded import ForkedProcess
from runtime.supervision import HelperGone, Limits, Watch, describe_exit, helper_errors, kill_group

#: A helper has one core, and no GPU.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class HelperServer:
    """The process that forks the helpers; a helper is ready in milliseconds. Safe for many threads."""

    def __init__(self, command: Sequence[str], *, idle_seconds: float, megabytes: float) -> None:
        # Loading the libraries takes as long as it takes, while it makes progress.
        self._limits = Limits(math.inf, idle_seconds, megabytes)
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as stack:
            self._socket = stack.enter_context(ours)
            self._process = start_preloaded(command, _ENVIRONMENT, stdin=theirs.fileno())
            stack.pop_all()
        self._turn = threading.Lock()

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    def wait_until_ready(self) -> None:
        """Its first line says that it is. Raises `HelperGone` when it has ended, or does nothing."""
        self._await_line()

    def fork(self) -> HelperProcess:
        """A new helper; raises `HelperGone`."""
        with helper_errors(), ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            with theirs, self._turn:
                socket.send_fds(self._socket, [b"f"], [theirs.fileno()])
                answer = self._await_line()
            if "pid" not in answer:
                raise HelperGone(f"could not be started: {answer.get('error')}")
            # It is in its server's group, and the server answers for more than this one.
            helper = HelperProcess(psutil.Process(answer["pid"]), ours, leads_group=False)
            stack.pop_all()
        return helper

    def _await_line(self) -> dict[str, Any]:
        try:
            with helper_errors():
                watch = Watch(self._process, self._limits)
                for answer in receive_line(self._socket):
                    if answer is not None:
                        return answer
                    if watch.has_ended:
                        break
                    watch.guard()
                raise HelperGone(describe_exit(self._process.poll()))
        except HelperGone:
            self.kill()
            raise

    def wait(self) -> None:
        """Until it has ended. Several threads may wait."""
        if isinstance(self._process, ForkedProcess):
            self._process.wait()
            return
        # psutil's `wait` collects the process, and leaves no exit code to other threads: this only looks, and
        # `poll`, which is subprocess's own and safe for threads, collects.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._process.poll()

    def kill(self) -> None:
        """Its helpers end with it."""
        # One that was waited for is gone, and its number may be another group's.
        if self._process.is_running():
            kill_group(self._process)

    def close(self) -> None:
        """Ends it at once; harmless when it has ended."""
        self.kill()
        self.wait()
        self._socket.close()
