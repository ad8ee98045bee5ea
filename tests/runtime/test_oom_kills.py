"""Which deaths the kernel's count of kills explains."""

from pathlib import Path

import pytest

from runtime import supervision
from runtime.supervision import OomKills, count_oom_kills


@pytest.fixture
def counters(tmp_path: Path) -> Path:
    path = tmp_path / "vmstat"
    path.write_text("pgfault 12\noom_kill 3\noom_kill_other 7\n")
    return path


def count(counters: Path, kills: int) -> None:
    counters.write_text(f"pgfault 12\noom_kill {kills}\n")


def test_the_kernel_counts_its_kills(counters: Path) -> None:
    assert count_oom_kills(counters) == 3
    assert count_oom_kills() >= 0


def test_a_kernel_that_does_not_count_explains_nothing(tmp_path: Path) -> None:
    kills = OomKills(tmp_path / "nothing")
    kills.look()
    assert not kills.explain_death()


def test_each_kill_explains_one_death(counters: Path) -> None:
    kills = OomKills(counters)
    kills.look()
    assert not kills.explain_death()
    count(counters, 5)
    kills.look()
    kills.look()
    assert [kills.explain_death() for _ in range(3)] == [True, True, False]


def test_a_kill_of_long_ago_explains_no_death(
    counters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_DYING_SECONDS", -1.0)
    kills = OomKills(counters)
    count(counters, 4)
    kills.look()
    kills.look()
    assert not kills.explain_death()
