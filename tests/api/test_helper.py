"""A helper that starts slowly is waited for while it works; one that does nothing is ended."""

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from api import helper as helpers
from api.helper import Helper, TooSlow

SLEEPER = ("/bin/sleep", "60")


def test_a_start_is_given_up_after_so_long_without_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 100.0, 250.0, 300.0])
    used = iter([1.0, 2.0, 2.0])
    clock: Any = SimpleNamespace(monotonic=lambda: next(moments))
    with closing(Helper(SLEEPER, 512)) as helper:
        monkeypatch.setattr(helpers, "time", clock)
        times = SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=next(used), system=0.0))
        monkeypatch.setattr(helper, "_memory", times)
        deadline = helper._idle_deadline(120.0)
        # It worked at 100 s and at 250 s, and not since.
        assert [deadline() for _ in range(3)] == [220.0, 370.0, 370.0]


def test_a_start_that_does_nothing_is_ended() -> None:
    with closing(Helper(SLEEPER, 512)) as helper:
        with pytest.raises(TooSlow):
            helper.wait_until_ready(0.2)
        assert not helper.is_running()
