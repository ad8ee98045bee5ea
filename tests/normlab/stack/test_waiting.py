"""Waiting for parts of the local stack: as long as they work, told while it lasts, limited only when asked to."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from normlab.accounts import server_account
from normlab.cli.render.stack_progress import StackProgress
from normlab.errors import ServerError, StackError, WaitedTooLong
from normlab.home import Home
from normlab.stack import parts, supervisor
from normlab.stack.activity import Activity, Signs, last_line, signs_of_work
from normlab.stack.daemons import Answer
from normlab.stack.parts import Part
from normlab.stack.processes import start_process, wait_until
from normlab.stack.supervisor import StopAsked, Supervisor


@dataclass
class Clock:
    """Time that passes only when somebody says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    monotonic = time = __call__

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("moving", [(2, 0.0, 0), (1, 0.1, 0), (1, 0.0, 1)])
def test_a_log_that_grows_cpu_and_reading_are_each_a_sign_of_work(moving: Signs) -> None:
    clock, signs = Clock(), [(1, 0.0, 0), (1, 0.0, 0), moving]
    activity = Activity(1, Path("log"), read_signs=lambda pid, log: signs.pop(0), clock=clock)
    assert activity.idle_seconds() == 0
    clock.now += 100
    assert activity.idle_seconds() == 100
    clock.now += 100
    assert activity.idle_seconds() == 0


def test_an_answer_from_its_port_is_a_sign_of_work() -> None:
    clock = Clock()
    activity = Activity(1, Path("log"), read_signs=lambda pid, log: (0, 0.0, 0), clock=clock)
    activity.idle_seconds()
    clock.now += 100
    activity.note()
    assert activity.idle_seconds() == 0


def test_signs_are_read_from_the_process_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert signs_of_work(os.getpid(), log)[0] == 0
    log.write_text("began\n\n")
    size, seconds, _ = signs_of_work(os.getpid(), log)
    assert size == 7
    assert seconds > 0
    assert last_line(log) == "began"
    assert last_line(tmp_path / "none") == ""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Any]:
    with (tmp_path / "log").open("ab") as log:
        process = start_process(["/bin/sleep", "60"], Path("/"), server_account(tmp_path), log)
    yield process
    process.kill()
    process.wait()


def test_a_server_that_does_nothing_is_given_up(sleeper: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ServerError, match="PostgreSQL has neither answered nor made progress for 0 s"
    ):
        wait_until(lambda: False, sleeper, tmp_path / "log", "PostgreSQL", idle_seconds=0.0)
    assert sleeper.wait(120) != 0


def test_a_server_that_works_is_waited_for_however_long(
    sleeper: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, log = Clock(), tmp_path / "log"
    monkeypatch.setattr("normlab.stack.processes.time", clock)
    monkeypatch.setattr("normlab.stack.activity.time", clock)

    def ready() -> bool:
        clock.now += 60
        with log.open("a") as file:
            file.write("recovering\n")
        return clock.now > 2_000

    wait_until(ready, sleeper, log, "PostgreSQL", idle_seconds=100.0)
    assert sleeper.poll() is None


def test_a_wait_for_a_server_can_be_broken_off(sleeper: Any, tmp_path: Path) -> None:
    def stop() -> None:
        raise StopAsked

    with pytest.raises(StopAsked):
        wait_until(lambda: False, sleeper, tmp_path / "log", "Redis", while_waiting=stop)
    assert sleeper.wait(120) != 0


@dataclass
class FakeRunnable:
    """Runs until it is stopped; `lives` counts its starts."""

    pid: int | None = 1
    alive: bool = True
    remarks: tuple[str, ...] = ()
    lives: int = 0
    stopped: list[bool] = field(default_factory=list)

    def start(self) -> None:
        self.lives += 1
        self.alive = True

    def stop(self) -> None:
        self.alive = False
        self.stopped.append(True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr(parts, "time", clock)
    monkeypatch.setattr("normlab.stack.activity.time", clock)
    return clock


def start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
    started: list[Part],
    pause_seconds: float = 60,
) -> Supervisor:
    """A supervisor that waits for these parts, with such a pause between two looks at them."""
    made = Supervisor(Home(tmp_path), show=lambda state: None)
    (tmp_path / "logs").mkdir()

    def pause(seconds: float = 0.2) -> None:
        # Its questions are asked in threads: their answers come before the next look.
        for part in started:
            if part._asking is not None:
                part._asking.join(timeout=120)
        clock.now += pause_seconds

    monkeypatch.setattr(made, "_pause", pause)
    for part in started:
        made._launch(part)
    made._wait_until_ready()
    return made


def after(count: int, detail: str = "") -> Callable[[], Answer]:
    """Ready at the last of so many questions."""
    left = [Answer(ready=False, detail=detail)] * (count - 1) + [Answer(ready=True)]
    return lambda: left.pop(0)


def test_a_part_that_is_late_but_works_is_waited_for_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("normlab.stack.activity.signs_of_work", lambda pid, log: (0, 0.0, 0))
    slow, quick = FakeRunnable(), FakeRunnable()
    # 30 minutes, in which its port answers that it is not ready.
    late = Part("api", slow, after(30, "not ready: checker"))
    made = start(tmp_path, monkeypatch, clock, [Part("redis", quick), late])
    assert clock.now > 1000 + 29 * 60
    assert made._phase == "ready"
    assert (slow.lives, quick.lives) == (1, 1)
    assert not slow.stopped + quick.stopped


def test_a_part_that_does_nothing_for_minutes_is_restarted_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("normlab.stack.activity.signs_of_work", lambda pid, log: (0, 0.0, 0))
    hanging, other = FakeRunnable(), FakeRunnable()
    start(tmp_path, monkeypatch, clock, [Part("redis", other), Part("mlflow", hanging, after(9))])
    assert (hanging.lives, other.lives) == (2, 1)


@pytest.mark.parametrize("load_seconds", [0, 70, float("inf")])
def test_a_part_that_ends_or_hangs_again_and_again_is_broken_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, load_seconds: float
) -> None:
    monkeypatch.setattr("normlab.stack.activity.signs_of_work", lambda pid, log: (0, 0.0, 0))

    class Broken(FakeRunnable):
        """Loads for a while and then ends."""

        def start(self) -> None:
            super().start()
            assert self.lives <= 5
            self.ends_at = clock.now + load_seconds

        def answer(self) -> Answer:
            if clock.now >= self.ends_at:
                self.alive = False
            return Answer(ready=False)

    broken = Broken()
    with pytest.raises(StackError, match="api ended 5 times in a row"):
        start(tmp_path, monkeypatch, clock, [Part("api", broken, broken.answer)], pause_seconds=10)
    assert broken.lives == 5


def test_failures_are_forgotten_after_a_minute_of_being_ready_and_not_of_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("normlab.stack.activity.signs_of_work", lambda pid, log: (0, 0.0, 0))
    part = Part("api", FakeRunnable(), after(9), failures=4)
    made = start(tmp_path, monkeypatch, clock, [part], pause_seconds=10)
    made._look_after_parts()
    assert (part.state, part.failures) == ("ready", 4)
    clock.now += 61
    made._look_after_parts()
    assert part.failures == 0


class Gone:
    """A terminal or pipe that went away."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), ValueError()])
def test_all_parts_are_stopped_though_nothing_can_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def show(state: Mapping[str, Any]) -> None:
        raise error

    monkeypatch.setattr(supervisor, "end_leftovers", lambda home: 0)
    monkeypatch.setattr("sys.stderr", Gone())
    home = Home(tmp_path)
    made = Supervisor(home, show)
    runnables = {name: FakeRunnable() for name in ("api", "worker", "postgres")}
    made._parts = {name: Part(name, runnable) for name, runnable in runnables.items()}
    with pytest.raises((StackError, ValueError)):
        made.run()
    assert [runnable.stopped for runnable in runnables.values()] == [[True]] * 3
    written = home.read_state()
    assert written["phase"] in ("failed", "stopped")
    assert {part["state"] for part in written["processes"]} == {"stopped"}


def test_a_part_that_cannot_be_stopped_keeps_no_other_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unstoppable(FakeRunnable):
        def stop(self) -> None:
            raise OSError(errno.EACCES, "Permission denied")

    ended: list[Home] = []
    monkeypatch.setattr(supervisor, "end_leftovers", ended.append)
    home = Home(tmp_path)
    made = Supervisor(home, show=lambda state: None)
    postgres = FakeRunnable()
    made._parts = {"api": Part("api", Unstoppable()), "postgres": Part("postgres", postgres)}
    made._stop()
    assert (postgres.stopped, ended) == ([True], [home])
    assert home.read_state()["phase"] == "stopped"
    assert "api could not be stopped: [Errno 13] Permission denied" in capsys.readouterr().err


def state(phase: str, step: str | None = None, **states: str) -> dict[str, Any]:
    processes = [
        {"name": name, "state": state, "detail": "", "restarts": 0}
        for name, state in states.items()
    ]
    named = {"name": step} if step else None
    return {"phase": phase, "step": named, "remarks": [], "processes": processes, "seconds": 9.0}


def test_what_is_awaited_is_said_every_ten_seconds_with_the_time_that_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mlflow.log").write_text("Creating tables\n")
    show = StackProgress(Home(tmp_path), clock=clock)
    starting = state("starting", redis="ready", mlflow="starting", api="starting")
    starting["processes"][2]["detail"] = "it answers not ready: checker"
    for _ in range(25):
        show(starting)
        clock.now += 1
    show(state("starting", step="migrations", redis="ready"))
    line = "waiting for MLflow (Creating tables); API (it answers not ready: checker)"
    assert capsys.readouterr().out.splitlines() == [
        "    0.0 s  Redis ready",
        f"   10.0 s  {line}",
        f"   20.0 s  {line}",
    ]
    clock.now += 10
    show(state("starting", step="migrations", redis="ready"))
    assert "35.0 s  waiting for the database migrations" in capsys.readouterr().out


def test_a_timeout_says_which_parts_are_ready_and_what_happens_to_them(tmp_path: Path) -> None:
    clock = Clock()
    show = StackProgress(Home(tmp_path), timeout=60.0, then="They go on.", clock=clock)
    show(state("starting", redis="ready", api="starting"))
    clock.now += 61
    with pytest.raises(WaitedTooLong) as raised:
        show(state("starting", redis="ready", postgres="ready", api="starting"))
    assert str(raised.value) == (
        "not ready after 60 s; ready: Redis, PostgreSQL; still waiting for API.\nThey go on."
    )
    # A stack that stops is not late.
    show(state("stopping", redis="stopped", api="stopping"))


def test_a_stop_says_what_has_stopped_and_what_is_awaited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    show = StackProgress(Home(tmp_path), clock=clock)
    show(state("stopping", redis="ready", api="stopped", worker="stopping"))
    clock.now += 10
    show(state("stopping", redis="ready", api="stopped", worker="stopping"))
    assert capsys.readouterr().out.splitlines() == [
        "    0.0 s  API stopped",
        "   10.0 s  waiting for worker (it saves its running jobs)",
    ]


def test_a_remark_on_a_server_is_said_once_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show = StackProgress(Home(tmp_path), clock=Clock())
    for _ in range(2):
        show({**state("starting", redis="ready"), "remarks": ["X cannot be used. Using Y."]})
    assert capsys.readouterr().err == "X cannot be used. Using Y.\n"
