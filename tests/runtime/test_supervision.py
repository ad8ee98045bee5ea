"""A helper is ended for what it uses, not for the time that passes while it works."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from runtime import supervision
from runtime.helper_server import HelperServer
from runtime.supervision import Hung, Limits, TimedOut, TooBig, TooSlow, Watch, describe_exit

LIMITS = Limits(cpu_seconds=20.0, idle_seconds=30.0, megabytes=512)


class Process:
    """What psutil says of one."""

    def __init__(self) -> None:
        self.seconds = 5.0
        self.megabytes = 100

    def cpu_times(self) -> Any:
        return SimpleNamespace(user=self.seconds, system=0.0)

    def memory_info(self) -> Any:
        return SimpleNamespace(rss=self.megabytes * 2**20)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_helper_that_works_slowly_is_not_ended(clock: Any) -> None:
    process: Any = Process()
    watch = Watch(process, LIMITS)
    for _ in range(100):
        clock.now += 29.0
        process.seconds += 0.01
        watch.guard()


def test_a_helper_that_does_nothing_is_ended(clock: Any) -> None:
    process: Any = Process()
    watch = Watch(process, LIMITS)
    clock.now, process.seconds = 29.0, 5.01
    watch.guard()
    clock.now = 60.0
    with pytest.raises(Hung, match="did nothing for 30 seconds"):
        watch.guard()


def test_only_what_is_used_since_the_question_counts(clock: Any) -> None:
    process: Any = Process()
    watch = Watch(process, LIMITS)
    process.seconds = 24.9
    watch.guard()
    process.seconds = 25.1
    with pytest.raises(TooSlow, match="needed more than 20 seconds of CPU time"):
        watch.guard()


def test_a_helper_that_grows_is_ended(clock: Any) -> None:
    process: Any = Process()
    watch = Watch(process, LIMITS)
    process.megabytes = 513
    with pytest.raises(TooBig, match="needed more than 512 MB"):
        watch.guard()


def test_a_start_that_does_nothing_is_ended() -> None:
    with closing(HelperServer(("/bin/sleep", "60"), idle_seconds=0.2, megabytes=512)) as server:
        with pytest.raises(Hung):
            server.wait_until_ready()
        server.wait()


def test_a_helper_that_takes_longer_than_its_time_is_ended(clock: Any) -> None:
    process: Any = Process()
    watch = Watch(process, Limits(wall_seconds=10))
    clock.now, process.seconds = 9.0, 14.0
    watch.guard()
    clock.now, process.seconds = 11.0, 16.0
    with pytest.raises(TimedOut, match="took longer than 10 seconds"):
        watch.guard()


def test_an_exit_is_described_in_words() -> None:
    assert describe_exit(3) == "ended with 3"
    assert describe_exit(None) == "ended"
    assert describe_exit(-6) == "was killed by SIGABRT"
    assert "too little memory" in describe_exit(-9)


# Who collects a process first is chance: once wouldn't do.
@pytest.mark.parametrize("repeat", range(4))
def test_several_threads_may_wait_for_a_server_and_its_exit_code_stays_known(repeat: int) -> None:
    server = HelperServer(("/bin/sleep", "600"), idle_seconds=60, megabytes=512)
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(server.wait) for _ in range(4)]
        # All of them wait by then, or come to a process that has ended: both must do.
        time.sleep(0.2)
        server.kill()
        for future in waiting:
            future.result(60)
    server.close()
    assert server._process.returncode == -signal.SIGKILL
