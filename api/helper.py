"""One helper process and the JSON lines spoken with it.

Both ends are one socket pair: the helper sees the end of its input when this process dies, however
it dies, and a helper that stopped reading can't hold a writer beyond its limit.
"""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psutil

POLL_SECONDS = 0.1


class HelperGone(Exception):
    """The helper ended, or was ended, before it answered."""


class TooSlow(HelperGone):
    """The helper took longer than its limit and was ended."""


class TooBig(HelperGone):
    """The helper grew beyond its limit and was ended."""


class Helper:
    """A running helper; one exchange at a time."""

    def __init__(self, command: Sequence[str], megabytes: int) -> None:
        self._megabytes = megabytes
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as stack:
            self._socket = stack.enter_context(ours)
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                # A Ctrl-C in the terminal is for this process, which ends its helper itself.
                process_group=0,
            )
            stack.pop_all()
        self._memory = psutil.Process(self._process.pid)

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self, seconds: float) -> None:
        """Its first line says that it is; `seconds` without any use of the CPU are too long.

        To load its libraries takes minutes on a busy machine, and a fresh start only takes them again.
        """
        with self._ended_on_error(seconds):
            self._receive(self._idle_deadline(seconds))

    def exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to one request. After any error the helper is dead: half a line may be on its way."""
        with self._ended_on_error(seconds):
            self._send(json.dumps(request).encode() + b"\n", seconds)
            deadline = time.monotonic() + seconds
            return self._receive(lambda: deadline)

    def _idle_deadline(self, seconds: float) -> Callable[[], float]:
        used, moved_at = 0.0, time.monotonic()

        def deadline() -> float:
            nonlocal used, moved_at
            times = self._memory.cpu_times()
            if times.user + times.system > used:
                used, moved_at = times.user + times.system, time.monotonic()
            return moved_at + seconds

        return deadline

    def close(self) -> None:
        """Ends it at once; harmless when it has ended."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    @contextlib.contextmanager
    def _ended_on_error(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except HelperGone:
            self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise TooSlow(f"did not take the request within {seconds:g} seconds") from error
        except (OSError, ValueError, psutil.Error) as error:
            self.close()
            raise HelperGone(f"broke off: {error}") from error

    def _send(self, line: bytes, seconds: float) -> None:
        self._socket.settimeout(seconds)
        self._socket.sendall(line)

    def _receive(self, deadline: Callable[[], float]) -> dict[str, Any]:
        self._socket.settimeout(POLL_SECONDS)
        line = b""
        while not line.endswith(b"\n"):
            with contextlib.suppress(TimeoutError):
                received = self._socket.recv(2**16)
                if not received:
                    raise HelperGone(f"ended (code {self._process.poll()})")
                line += received
                continue
            self._guard(deadline())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _guard(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise TooSlow("took longer than its limit")
        if self._memory.memory_info().rss > self._megabytes * 2**20:
            raise TooBig(f"needed more than {self._megabytes} MB")
