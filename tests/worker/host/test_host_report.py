"""What a host says of itself: its room, and its clock beside the database's."""

import time
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from store.hosts import GpuMemory, host_views
from tests.support.factories import make_worker
from worker.execution.space import Space
from worker.host.gpus import FakeGpus, GpuWatch
from worker.host.host_report import FREED_BYTES, HostReport, measure_clock

Sessions = sessionmaker[Session]


@pytest.mark.parametrize("offset", [0.0, 3600.0, -90.0])
def test_a_clock_is_measured_against_the_databases(sessions: Sessions, offset: float) -> None:
    with sessions.begin() as session:
        ahead = measure_clock(session, lambda: time.time() + offset)
    # Never more than it is; the question itself may have taken a moment.
    assert abs(ahead) <= abs(offset)
    assert ahead == pytest.approx(offset, abs=30.0)


def test_a_slow_answer_is_no_wrong_clock(sessions: Sessions) -> None:
    readings = iter([time.time() - 100.0, time.time() + 100.0])
    with sessions.begin() as session:
        assert measure_clock(session, lambda: next(readings)) == 0.0


def test_what_is_wrong_is_logged_when_it_begins_and_when_it_ends(
    sessions: Sessions, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        make_worker(session)
    short, roomy = Space((tmp_path,), 10**18), Space((tmp_path,), 1)
    report = HostReport("alpha", short, wall_clock=lambda: time.time() + 3600.0)
    answers = []
    with capture_logs() as lines:
        for space in (short, short, roomy, roomy):
            report._space = space
            with sessions.begin() as session:
                answers.append(report.send(session))
                [worker] = host_views.workers_view(session)
    assert answers == [False, False, True, False]
    assert [line["event"].split(":")[0] for line in lines] == [
        "this host takes no jobs",
        "its clock is 3600 s ahead of the database's",
        "this host has room again",
    ]
    assert [problem.split(" s ")[1] for problem in worker.problems] == [
        "ahead of the database's: the times in its log are wrong; set it right (NTP)"
    ]


def test_a_host_is_woken_once_others_have_freed_memory_of_its_gpus(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions.begin() as session:
        make_worker(session, cuda=2)
    watch = GpuWatch(FakeGpus(tmp_path), (), 0)
    report = HostReport("alpha", Space((tmp_path,), 1), gpus=watch)
    answers = []
    half = FREED_BYTES // 2
    for used in (4 * half, 3 * half, 2 * half, 2 * half, 4 * half, 0):
        gpus = [GpuMemory(0, 100 * half, 7 * half, 7 * half), GpuMemory(1, 100 * half, used, 0)]
        monkeypatch.setattr(watch, "read", lambda gpus=gpus: gpus)
        with sessions.begin() as session:
            answers.append(report.send(session))
    assert answers == [False, False, True, False, False, True]
