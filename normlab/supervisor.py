"""Keeps the local stack running: starts it in order, restarts what crashes, stops all of it.

One process per home, which holds the home's lock. It writes what it knows to `stack.json` and takes
no orders but signals. Knows nothing of what the processes do.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from normlab.daemons import (
    Daemon,
    Runnable,
    end_leftovers,
    make_checks,
    make_daemons,
    stack_environment,
)
from normlab.errors import ServerError, StackError
from normlab.home import Home
from normlab.ports import check_ports
from normlab.servers import Postgres, Redis

_START_SECONDS = 180.0
_START_TRIES = 3
_HEALTHY_SECONDS = 60.0
_LONGEST_PAUSE = 30.0
#: The servers go last: a worker that drains still writes.
_STOP_ORDER = (("api", "worker", "sweep", "mirror", "mlflow"), ("redis", "postgres"))


class StopAsked(Exception):
    """A signal asked the supervisor to stop."""


@dataclass(slots=True)
class Kept:
    """One process under supervision; `failures` counts restarts since it was last healthy."""

    name: str
    runnable: Runnable
    is_ready: Callable[[], bool]
    state: str = "waiting"
    started_at: float = 0.0
    restart_at: float = 0.0
    restarts: int = 0
    failures: int = 0

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "pid": self.runnable.pid,
            "started_at": self.started_at,
            "restarts": self.restarts,
        }


class Supervisor:
    """`run` returns when it is told to stop, or raises why the stack could not start."""

    def __init__(self, home: Home, on_change: Callable[[Mapping[str, Any]], None]) -> None:
        self._home = home
        self._on_change = on_change
        self._kept: dict[str, Kept] = {}
        self._phase = "starting"
        self._error: str | None = None
        self._began = time.monotonic()
        self._seconds: float | None = None
        self._stop_asked = False

    def ask_to_stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._stop_asked = True

    def run(self) -> None:
        with self._home.lock():
            try:
                self._start()
                while True:
                    self._restart_what_ended()
                    self._pause()
            except StopAsked:
                pass
            except (ServerError, StackError, OSError) as error:
                self._error = str(error)
            finally:
                self._stop()
        if self._error:
            raise StackError(self._error)

    def _start(self) -> None:
        home = self._home
        self._publish()
        postgres = Postgres(
            home.folder / "postgres", sockets=home.sockets, log=home.logs / "postgres.log"
        )
        redis = Redis(home.folder / "redis", sockets=home.sockets, log=home.logs / "redis.log")
        end_leftovers(home)
        check_ports(home)
        token = home.ensure_token()
        self._launch(Kept("postgres", postgres, lambda: True))
        self._launch(Kept("redis", redis, lambda: True))
        postgres.create_databases("normlab", "mlflow")
        environment = stack_environment(home, postgres, redis)
        daemons = make_daemons(home, environment, postgres.url("mlflow"))
        checks = make_checks(home, token)
        # MLflow is the slowest to start and needs nothing of the others.
        self._launch(Kept("mlflow", daemons.pop("mlflow"), checks["mlflow"]))
        first = {**environment, "NORMLAB_BOOTSTRAP_TOKEN": token}
        self._run_once("migrations", ["-m", "migrations", "upgrade"], first)
        for name, daemon in daemons.items():
            self._launch(Kept(name, daemon, checks.get(name, lambda: True)))
        self._wait_until_ready()

    def _launch(self, kept: Kept) -> None:
        self._kept[kept.name] = kept
        kept.state = "starting"
        kept.started_at = time.time()
        kept.runnable.start()
        if kept.name in ("postgres", "redis"):
            kept.state = "ready"
        self._publish()

    def _run_once(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        log = self._home.logs / f"{name}.log"
        step = Daemon([sys.executable, *arguments], environment, self._home.folder, log)
        step.start()
        try:
            while step.alive:
                self._pause(0.05)
            if step.exit_code != 0:
                raise StackError(f"`{name}` failed; {last_lines(log)}")
        finally:
            step.stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while waiting := [one for one in self._kept.values() if one.state != "ready"]:
            self._restart_what_ended()
            for one in waiting:
                if one.failures >= _START_TRIES:
                    log = self._home.logs / f"{one.name}.log"
                    raise StackError(f"{one.name} does not start; {last_lines(log)}")
                if one.state == "starting" and one.is_ready():
                    one.state = "ready"
                    self._publish()
            if time.monotonic() > deadline:
                one = waiting[0]
                log = self._home.logs / f"{one.name}.log"
                raise StackError(
                    f"{one.name} is not ready after {_START_SECONDS:g} s; {last_lines(log)}"
                )
            self._pause()
        self._phase = "ready"
        self._seconds = time.monotonic() - self._began
        self._publish()

    def _restart_what_ended(self) -> None:
        for one in self._kept.values():
            healthy = time.time() - one.started_at > _HEALTHY_SECONDS
            if one.runnable.alive:
                if one.failures and healthy:
                    one.failures = 0
                if self._phase == "ready" and one.state == "starting" and one.is_ready():
                    one.state = "ready"
                    self._publish()
            elif one.state != "restarting":
                one.failures += 1
                one.state = "restarting"
                pause = min(2.0 ** (one.failures - 1), _LONGEST_PAUSE)
                one.restart_at = time.monotonic() + pause
                self._publish()
            elif time.monotonic() >= one.restart_at:
                self._restart(one)

    def _restart(self, one: Kept) -> None:
        one.restarts += 1
        try:
            self._launch(one)
        except (ServerError, OSError) as error:
            complain(f"{one.name}: {error}")

    def _pause(self, seconds: float = 0.2) -> None:
        if self._stop_asked:
            raise StopAsked
        time.sleep(seconds)

    def _stop(self) -> None:
        self._phase = "stopping"
        self._publish()
        with ThreadPoolExecutor() as pool:
            for names in _STOP_ORDER:
                stage = [self._kept[name] for name in names if name in self._kept]
                for one, _ in zip(
                    stage, pool.map(lambda one: one.runnable.stop(), stage), strict=True
                ):
                    one.state = "stopped"
                self._publish()
        end_leftovers(self._home)
        self._phase = "failed" if self._error else "stopped"
        self._publish()

    def _publish(self) -> None:
        state = {
            "phase": self._phase,
            "error": self._error,
            "seconds": self._seconds,
            "supervisor": {"pid": os.getpid(), "created": psutil.Process().create_time()},
            "api_url": self._home.api_url,
            "mlflow_url": self._home.mlflow_url,
            "processes": [one.describe() for one in self._kept.values()],
        }
        try:
            self._home.write_state(state)
        except OSError as error:
            # A full disk must not keep the stack from being stopped.
            complain(f"stack.json: {error}")
        self._on_change(state)


def last_lines(log: Path, count: int = 20) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        lines = []
    return "\n".join([f"the last lines of {log}:", *(f"  {line}" for line in lines)])


def complain(text: str) -> None:
    """To the supervisor's own log."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    """The detached supervisor: its output is its log."""
    home = Home.from_environment()
    supervisor = Supervisor(home, on_change=lambda state: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, supervisor.ask_to_stop)
    try:
        supervisor.run()
    except StackError as error:
        complain(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
