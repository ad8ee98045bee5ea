"""Processes that have imported what the parts of the stack need, and fork them: what they load is in memory once.

One loads what the service is made of, without torch or MLflow; two that it forks load these as well. Where one
has ended, a part that is started imports what it needs itself.
"""

import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from normlab.accounts import private_folder, server_account
from normlab.home import Home
from runtime.preloaded import (
    ROOM,
    ForkedProcess,
    Question,
    fork,
    is_possible,
    listen,
    make_room,
)

_BASE = "service"
#: What each imports; the first is forked by none, the others by it.
_MODULES: Mapping[str, tuple[str, ...]] = {
    _BASE: ("runtime.http_server", "api.app", "worker.sweep.__main__"),
    "torch": (
        "worker.__main__",
        "trainer.checks.__main__:load_libraries",
        "trainer.ranks.__main__",
    ),
    "mlflow": ("mlflow.tracking", "worker.mirror.__main__", "studies.figures.__main__"),
}
_OF_PARTS = {
    "api": _BASE,
    "sweep": _BASE,
    "worker": "torch",
    "mirror": "mlflow",
    "mlflow": "mlflow",
}
#: The helpers that parts start.
_OF_HELPERS = {
    "trainer.checks": "torch",
    "trainer.ranks": "torch",
    "worker.mirror.model_export": "torch",
    "studies.figures": "mlflow",
}


def socket_of(home: Home, part: str) -> Path:
    """Where the process listens that forks a part."""
    return _socket(home, _OF_PARTS[part])


def sockets_of_helpers(home: Home) -> dict[str, str]:
    """By module, as `runtime.preloaded.VARIABLE` names them."""
    return {module: str(_socket(home, name)) for module, name in _OF_HELPERS.items()}


def remove_sockets(home: Home) -> None:
    """Also those of a stack that was killed."""
    for name in _MODULES:
        _socket(home, name).unlink(missing_ok=True)


def _socket(home: Home, name: str) -> Path:
    return home.sockets / f"preload-{name}"


class Preloads:
    """Of one stack, from `start` to `stop`."""

    def __init__(self, home: Home, environment: Mapping[str, str]) -> None:
        """`environment` holds no secrets, and what libraries read while they are imported."""
        self._home = home
        self._environment = environment
        self._processes: list[subprocess.Popen[bytes] | ForkedProcess] = []
        self._questions: dict[str, Question] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns at once."""
        if not is_possible():
            return
        private_folder(self._home.sockets, server_account(self._home.folder))
        listening = {name: listen(_socket(self._home, name)) for name in _MODULES}
        self._questions = {name: Question(_socket(self._home, name)) for name in _MODULES}
        command = ["-m", "runtime.preload", *_MODULES[_BASE]]
        with listening.pop(_BASE) as base, self._log().open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, *command, ROOM],
                    stdin=base.fileno(),
                    stdout=log,
                    stderr=log,
                    cwd=self._home.folder,
                    env=make_room(self._environment),
                    start_new_session=True,
                )
            )

        def fork_others() -> None:
            for name, other in listening.items():
                with other, suppress(OSError), self._log().open("ab") as log:
                    streams = (other.fileno(), log.fileno(), log.fileno())
                    command = ["-m", "runtime.preload", *_MODULES[name]]
                    place = _socket(self._home, _BASE)
                    self._processes.append(fork(place, command, self._environment, streams))

        # It answers when it has imported its modules, and the databases can start meanwhile.
        self._thread = threading.Thread(target=fork_others, name="preloads", daemon=True)
        self._thread.start()

    def can_fork(self, part: str) -> bool:
        """Whether a part would be started at once: forked, or by itself where nothing forks."""
        question = self._questions.get(_OF_PARTS.get(part, ""))
        return question is None or question.is_answered

    def stop(self) -> None:
        """Harmless when they don't run."""
        for process in self._processes[:1]:
            process.kill()
        # With the first gone, the thread's question ends as well.
        if self._thread is not None:
            self._thread.join()
        for process in self._processes:
            with suppress(psutil.Error):
                process.kill()
                process.wait()
        self._processes.clear()
        remove_sockets(self._home)

    def _log(self) -> Path:
        return self._home.logs / "preloads.log"
