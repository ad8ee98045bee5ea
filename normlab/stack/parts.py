"""The state of one supervised part of the local stack."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from normlab.home import seconds_after_boot
from normlab.stack.activity import IDLE_SECONDS, Activity
from normlab.stack.daemons import Answer, Runnable

_HEALTHY_SECONDS = 60.0
_LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Part:
    """Without `check` it is ready once it runs.

    `failures` counts how often it has ended since it was last ready for a while.
    """

    name: str
    runnable: Runnable
    check: Callable[[], Answer] | None = None
    state: str = "waiting"
    detail: str = ""
    remark: str = ""
    started_at: float = 0.0
    seconds_after_boot: float | None = None
    ready_at: float = 0.0
    restart_at: float = 0.0
    restarts: int = 0
    failures: int = 0
    _activity: Activity | None = None
    _answers: list[Answer] = field(default_factory=list)
    _asking: threading.Thread | None = None

    @property
    def remarks(self) -> list[str]:
        return [*self.runnable.remarks, *([self.remark] if self.remark else [])]

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "detail": self.detail,
            "pid": self.runnable.pid,
            "started_at": self.started_at,
            "seconds_after_boot": self.seconds_after_boot,
            "restarts": self.restarts,
        }

    def begin(self) -> None:
        self.state, self.detail, self.started_at = "starting", "", time.time()
        self.seconds_after_boot = None
        # An answer that is still on its way is about the process before this one.
        self._answers, self._asking = [], None

    def watch(self, log: Path) -> None:
        """It runs: from now on it is ready, or has to show that it works."""
        pid = self.runnable.pid
        if pid is not None:
            with suppress(psutil.NoSuchProcess):
                self.seconds_after_boot = seconds_after_boot(psutil.Process(pid))
        if self.check is None:
            self._become_ready()
        elif pid is not None:
            self._activity = Activity(pid, log)

    def ask(self) -> None:
        """Asks in the background whether it is ready, and takes the answer of an earlier question.

        A machine that is busy answers late, and the supervisor has other parts to look after.
        """
        if self._asking is not None and self._asking.is_alive():
            return
        # Taken here and not in the thread, so that the part's state changes in one thread only.
        while self._answers:
            self._take(self._answers.pop())
        if self.state == "starting":
            arguments = (self.check, self._answers)
            self._asking = threading.Thread(target=_ask, args=arguments, daemon=True)
            self._asking.start()

    def plan_restart(self) -> None:
        """It has ended: another one is started after 1, 2, 4, 8, 16, then 30 seconds."""
        # A part that ends at once must not fill the log and the CPU with its starts.
        self.failures += 1
        self.state = "restarting"
        self.restart_at = time.monotonic() + min(2.0 ** (self.failures - 1), _LONGEST_PAUSE)

    def forgive_failures(self) -> None:
        """After a minute of health."""
        # A part that ends twenty seconds after each start would else begin each time with the shortest pause.
        if self.ready_seconds > _HEALTHY_SECONDS:
            self.failures = 0

    def _take(self, answer: Answer) -> None:
        self.detail, self.remark = answer.detail, answer.remark
        if answer.ready:
            self._become_ready()
        # It answers that it isn't ready: it works, even if its log and its CPU time stand still.
        elif answer.detail and self._activity is not None:
            self._activity.note()

    def _become_ready(self) -> None:
        self.state, self.detail, self.ready_at = "ready", "", time.monotonic()

    @property
    def ready_seconds(self) -> float:
        """For how long it has been ready; 0 in any other state."""
        return time.monotonic() - self.ready_at if self.state == "ready" else 0.0

    @property
    def idle_seconds(self) -> float:
        """Since it last showed that it works."""
        return self._activity.idle_seconds() if self._activity else 0.0

    @property
    def hangs(self) -> bool:
        return self.idle_seconds > IDLE_SECONDS


def _ask(check: Callable[[], Answer], answers: list[Answer]) -> None:
    answers.append(check())
