"""The supervisor of the local stack: starts it in order, restarts crashed parts, stops all of it.

One process per home, which holds the home's lock. It writes what it knows to `stack.json` and takes
no orders but signals.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from normlab.errors import ServerError, StackError
from normlab.home import Home
from normlab.stack.activity import last_line, last_lines
from normlab.stack.daemons import (
    Daemon,
    end_leftovers,
    make_checks,
    make_daemons,
)
from normlab.stack.environments import (
    migration_environment,
    preload_environment,
    storage_environment,
)
from normlab.stack.logs import bounded_logs, log_error, log_remarks, show_nothing
from normlab.stack.parts import Part
from normlab.stack.ports import check_ports
from normlab.stack.preloads import Preloads
from normlab.stack.servers import make_servers
from runtime.supervision import Alarm

#: A part that ends this often in a row while the stack starts is broken, not late.
_START_TRIES = 5
_SHOW_SECONDS = 1.0
#: Between two looks at parts that are all ready.
_REST_SECONDS = 10.0
#: What `normlab up --adopt-storage` passes on.
ADOPT_STORAGE = "--adopt-storage"
#: The servers go last: a worker that drains still writes.
_STOP_ORDER = (("api", "worker", "sweep", "mirror", "mlflow"), ("redis", "postgres"))


class StopAsked(Exception):
    """A signal asked the supervisor to stop."""


class Supervisor:
    """`run` returns when it is stopped, or raises why the stack could not start.

    `show` gets the state at each change, and while the stack starts about once a second; what it raises
    stops the stack.
    What it raises while the stack stops is written to the log, and `show` isn't called again.
    With `adopt_storage`, the home's folder, or the object store of NORMLAB_STORAGE, becomes the database's storage before anything uses it.
    """

    def __init__(
        self,
        home: Home,
        show: Callable[[Mapping[str, Any]], None],
        *,
        adopt_storage: bool = False,
    ) -> None:
        self._home = home
        self._show = show
        self._adopts_storage = adopt_storage
        self._remarks: list[str] = []
        self._shown_at = 0.0
        self._parts: dict[str, Part] = {}
        self._phase = "starting"
        self._step: dict[str, Any] | None = None
        self._error: str | None = None
        self._began = time.monotonic()
        self._seconds: float | None = None
        self._stop_asked = False
        self._preloads = Preloads(home, preload_environment(home))
        self._alarm = Alarm()

    def ask_to_stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._stop_asked = True
        self._alarm.ring()

    def run(self) -> None:
        home = self._home
        # The lock first: it keeps a second supervisor from taking this one's processes for leftovers and ending
        # them.
        with home.lock(), bounded_logs(home.logs, home.log_limits, log_error):
            try:
                self._start()
                while True:
                    self._look_after_parts()
                    self._rest()
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
        postgres, redis = make_servers(home, self._check_for_stop)
        # What a killed supervisor left would still hold the ports, the data folder and jobs that the new worker
        # is about to acquire.
        end_leftovers(home)
        check_ports(home)
        token = home.ensure_token()
        self._preloads.start()
        self._launch(Part("postgres", postgres))
        self._launch(Part("redis", redis))
        postgres.create_databases("normlab")
        # The role that a daemon logs in as is made by a migration, which has to run before it.
        migrating = migration_environment(home, postgres, token)
        daemons = make_daemons(home, postgres, redis)
        checks = make_checks(home, token, daemons["worker"])
        self._run_once("migrations", ["-m", "migrations.mlflow_database"], migrating)
        self._run_once("migrations", ["-m", "migrations", "upgrade"], migrating)
        if self._adopts_storage:
            self._adopt_storage(migrating)
        self._launch_forked(
            [Part(name, daemon, checks.get(name)) for name, daemon in daemons.items()]
        )
        self._wait_until_ready()

    def _launch_forked(self, waiting: list[Part]) -> None:
        """Each as soon as there is a process that forks it."""
        while waiting:
            for part in [part for part in waiting if self._preloads.can_fork(part.name)]:
                waiting.remove(part)
                self._launch(part)
            self._pause(0.02)

    def _adopt_storage(self, environment: Mapping[str, str]) -> None:
        storage = storage_environment(self._home)
        name = "adopt-storage"
        command = ["-m", "store", "adopt-storage"]
        if storage["NORMLAB_STORAGE"] != str(self._home.storage):
            # What the home's folder has, if that is the storage until now.
            command.append(str(self._home.storage))
        self._run_once(name, command, {**environment, **storage})
        self._remarks.append(f"The storage was adopted. {last_line(self._log(name))}".strip())

    def _launch(self, part: Part) -> None:
        self._parts[part.name] = part
        part.begin()
        self._publish()
        part.runnable.start()
        part.watch(self._log(part.name))
        self._publish()

    def _log(self, name: str) -> Path:
        return self._home.logs / f"{name}.log"

    def _run_once(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        step = Daemon([sys.executable, *arguments], environment, self._home.folder, self._log(name))
        self._step = {"name": name, "started_at": time.time()}
        self._publish()
        step.start()
        try:
            # By pauses and not by `wait`: a signal that asks to stop has to be heard in the middle of a long
            # migration.
            while step.alive:
                self._pause(0.05)
            if step.exit_code != 0:
                raise StackError(f"`{name}` failed; {last_lines(self._log(name))}")
        finally:
            # A step that fails, or that is interrupted, leaves no process behind that migrates on by itself.
            step.stop()
            self._step = None

    def _wait_until_ready(self) -> None:
        """However long that takes: a part that is late is no reason to stop the others."""
        while any(part.state != "ready" for part in self._parts.values()):
            self._look_after_parts()
            for part in self._parts.values():
                # Only while starting. Of a stack that has been ready, a part is restarted for ever: the others
                # still serve, and its cause may pass.
                if part.failures >= _START_TRIES:
                    raise StackError(
                        f"{part.name} ended {part.failures} times in a row; "
                        f"{last_lines(self._log(part.name))}"
                    )
            self._pause()
        self._phase = "ready"
        self._seconds = time.monotonic() - self._began
        self._publish()

    def _look_after_parts(self) -> None:
        for part in self._parts.values():
            if part.runnable.alive:
                self._look_at(part)
            elif part.state != "restarting":
                part.plan_restart()
                self._publish()
            elif time.monotonic() >= part.restart_at:
                self._restart(part)

    def _look_at(self, part: Part) -> None:
        part.forgive_failures()
        if part.state != "starting":
            return
        before = (part.state, part.detail)
        part.ask()
        if (part.state, part.detail) != before:
            self._publish()
        if part.state == "starting" and part.hangs:
            log_error(
                f"{part.name} has shown no activity for {part.idle_seconds:.0f} s: restarting it"
            )
            # Only stopped: the next round finds that it has ended, and counts a failure like any other.
            part.runnable.stop()

    def _restart(self, part: Part) -> None:
        part.restarts += 1
        try:
            self._launch(part)
        except (ServerError, OSError) as error:
            log_error(f"{part.name}: {error}")

    def _check_for_stop(self) -> None:
        if self._stop_asked:
            raise StopAsked
        if time.monotonic() - self._shown_at > _SHOW_SECONDS:
            self._shown_at = time.monotonic()
            self._show(self._state())

    def _pause(self, seconds: float = 0.2) -> None:
        self._check_for_stop()
        time.sleep(seconds)

    def _rest(self) -> None:
        """While all is well: until a part ends or a signal comes."""
        if any(part.state != "ready" for part in self._parts.values()):
            self._pause()
            return
        self._check_for_stop()
        processes = [part.runnable.pid for part in self._parts.values()]
        self._alarm.wait([pid for pid in processes if pid is not None], _REST_SECONDS)

    def _stop(self) -> None:
        self._phase = "stopping"
        self._remarks.clear()
        self._publish()
        services, servers = _STOP_ORDER
        self._stop_together(services)
        self._preloads.stop()
        self._stop_together(servers)
        end_leftovers(self._home)
        self._phase = "failed" if self._error else "stopped"
        self._publish()

    def _stop_together(self, names: Iterable[str]) -> None:
        """All at once; says of each when it has stopped.

        A part that can't be stopped keeps no other running: what is left of it goes with the leftovers.
        """
        parts = [self._parts[name] for name in names if name in self._parts]
        if not parts:
            return
        for part in parts:
            part.state = "stopping"
        self._publish()
        # In threads, as each stop waits for its process: a worker may need a minute to save its jobs, and the
        # others should not wait for it.
        with ThreadPoolExecutor(len(parts)) as pool:
            stops = {pool.submit(part.runnable.stop): part for part in parts}
            for stop in as_completed(stops):
                part = stops[stop]
                try:
                    stop.result()
                except Exception as error:
                    log_error(f"{part.name} could not be stopped: {error}")
                part.state = "stopped"
                self._publish()

    def _publish(self) -> None:
        state = self._state()
        try:
            self._home.write_state(state)
        except OSError as error:
            # A full disk must not keep the stack from being stopped.
            log_error(f"stack.json: {error}")
        try:
            self._show(state)
        except Exception as error:
            if self._phase in ("starting", "ready"):
                raise
            # A terminal or pipe that is gone must not keep the parts from being stopped.
            log_error(f"the stop continues but cannot be shown: {error}")
            self._show = show_nothing

    def _state(self) -> dict[str, Any]:
        return {
            "phase": self._phase,
            "error": self._error,
            "seconds": self._seconds,
            "supervisor": {"pid": os.getpid(), "created": psutil.Process().create_time()},
            "api_url": self._home.api_url,
            "mlflow_url": self._home.mlflow_url,
            "step": self._step,
            "remarks": [
                *self._remarks,
                *(line for part in self._parts.values() for line in part.remarks),
            ],
            "processes": [part.describe() for part in self._parts.values()],
        }


def main() -> int:
    """The detached supervisor: its output is its log."""
    home = Home.from_environment()
    supervisor = Supervisor(home, show=log_remarks(), adopt_storage=ADOPT_STORAGE in sys.argv[1:])
    # SIGHUP too: a closed terminal should stop the stack as Ctrl-C does, and not kill it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, supervisor.ask_to_stop)
    try:
        supervisor.run()
    except StackError as error:
        log_error(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
