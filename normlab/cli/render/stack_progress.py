"""Progress of the local stack while it starts and stops: what is ready, and what is awaited."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from normlab.cli.render.output import say
from normlab.client import LINE_SECONDS
from normlab.errors import WaitedTooLong
from normlab.home import Home
from normlab.stack import last_line

_NAMES = {
    "postgres": "PostgreSQL",
    "redis": "Redis",
    "mlflow": "MLflow",
    "api": "API",
    "worker": "worker",
    "sweep": "sweep",
    "mirror": "mirror to MLflow",
    "migrations": "the database migrations",
    "adopt-storage": "the adoption of the storage",
}
_RISING = {"ready": "ready", "restarting": "ended; it will be restarted"}
_FALLING = {"stopped": "stopped"}
_MOST_OF_A_LOG = 80


class StackProgress:
    """A line for each part that is ready, ended or stopped; else every ten seconds what is awaited.

    With `timeout` it raises WaitedTooLong if the stack isn't ready after that many seconds.
    """

    def __init__(
        self,
        home: Home,
        *,
        timeout: float | None = None,
        then: str = "",
        when_ready: Callable[[Mapping[str, Any]], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._timeout = timeout
        self._then = then
        self._when_ready = when_ready
        self._clock = clock
        self._began = self._spoke = clock()
        self._said: set[tuple[str, str, int]] = set()

    def __call__(self, state: Mapping[str, Any]) -> None:
        for remark in state.get("remarks", ()):
            # The state is shown about once a second, and its remarks stay in it.
            if self._is_news("", remark):
                typer.echo(remark, err=True)
        phase = state.get("phase")
        news = _RISING if phase in ("starting", "ready") else _FALLING
        for part in state.get("processes", ()):
            word = news.get(part["state"])
            if word and self._is_news(part["name"], part["state"], part["restarts"]):
                self._say(f"{_name(part)} {word}")
        if phase == "ready" and self._is_news("", "ready"):
            self._when_ready(state)
        if phase in ("starting", "stopping") and self._clock() - self._spoke >= LINE_SECONDS:
            self._say(f"waiting for {'; '.join(self._awaited(state))}")
        if phase == "starting" and self._timeout is not None:
            self._check_timeout(state, self._timeout)

    def _is_news(self, *news: Any) -> bool:
        if news in self._said:
            return False
        self._said.add(news)
        return True

    def _say(self, text: str) -> None:
        self._spoke = self._clock()
        say(f"  {self._spoke - self._began:5.1f} s  {text}")

    def _awaited(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Each part that is late, with what it says of itself or the last line of its log."""
        if state["phase"] == "stopping":
            names = [_name(part) for part in state["processes"] if part["state"] == "stopping"]
            saves = " (it saves its running jobs)"
            return [name + saves * (name == "worker") for name in names] or ["the last processes"]
        parts = [part for part in state["processes"] if part["state"] not in ("ready", "stopped")]
        if state.get("step"):
            parts.append(state["step"])
        return [self._describe(part) for part in parts] or ["the first part to start"]

    def _describe(self, part: Mapping[str, Any]) -> str:
        log = self._home.logs / f"{part['name']}.log"
        detail = part.get("detail") or last_line(log)[:_MOST_OF_A_LOG]
        return f"{_name(part)} ({detail})" if detail else _name(part)

    def _check_timeout(self, state: Mapping[str, Any], timeout: float) -> None:
        if self._clock() - self._began <= timeout:
            return
        ready = [_name(part) for part in state["processes"] if part["state"] == "ready"]
        raise WaitedTooLong(
            f"not ready after {timeout:g} s; ready: {', '.join(ready) or 'nothing'}; "
            f"still waiting for {'; '.join(self._awaited(state))}.\n{self._then}"
        )


def _name(part: Mapping[str, Any]) -> str:
    return _NAMES.get(part["name"], str(part["name"]))
