"""A pass: few requests and statements however many jobs there are; exports wait, and keep nothing waiting."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, select

from runtime.helper_process import HelperProcess
from runtime.storage import FolderStorage
from store.db import JOBS_CHANNEL, notify
from store.db.models import Mirrored, MirrorProblem
from store.mlflow import exports
from store.mlflow.exports import Load
from tests.support.mirrored import ProjectRows, Reader
from tests.support.statements import counting_statements
from tests.support.waiting import wait_for
from worker.mirror.__main__ import (
    BUSY_PASS_SECONDS,
    PASS_SECONDS,
    Settings,
    make_mirroring,
    shortest_pause,
)
from worker.mirror.connection import locked_connection, wait_for_changes
from worker.mirror.exports import Exports
from worker.mirror.models import ModelLogger
from worker.mirror.passes import Mirroring
from worker.mirror.tracking import Tracking

pytestmark = pytest.mark.usefixtures("mlflow_server")

IDLE = Load(is_running=False, is_queued=False)
BUSY = Load(is_running=True, is_queued=True)


@contextmanager
def mirroring_of(settings: Settings, tracking: Tracking) -> Iterator[Mirroring]:
    with locked_connection(settings.database_url) as connection:
        mirroring = make_mirroring(settings, tracking, connection)
        yield mirroring
        mirroring.close()


def test_a_run_takes_four_requests_and_a_pass_the_same_statements_however_many_jobs_end(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: Counter[str] = Counter()
    send = requests.Session.send

    def counted(self: requests.Session, request: Any, **named: Any) -> requests.Response:
        sent[request.path_url.removeprefix("/api/2.0/mlflow/").partition("?")[0]] += 1
        return send(self, request, **named)

    monkeypatch.setattr(Exports, "advance", lambda *_, **__: 0)
    monkeypatch.setattr("worker.mirror.deletions.Deletions.search", lambda _: None)
    with mirroring_of(settings, tracking) as mirroring:
        mirroring.run_pass()
        counts = []
        study = project_rows.add_study()
        for jobs in (1, 2, 5):
            for seed in range(jobs):
                project_rows.add_finished_job(study=study, seed=10 * jobs + seed, epochs=1)
            sent.clear()
            with monkeypatch.context() as patch, counting_statements(Engine) as statements:
                patch.setattr(requests.Session, "send", counted)
                assert mirroring.run_pass(everything=True).jobs == jobs
            counts.append((jobs, dict(sent), len(statements)))
    # The first pass also makes the experiment and the study's run, whose note each pass writes anew.
    for jobs, requested, _ in counts[1:]:
        each = dict.fromkeys(("runs/create", "runs/log-inputs", "runs/update"), jobs)
        assert requested == {**each, "runs/log-batch": jobs + 1}
    few, many = (statement_count for _, _, statement_count in counts[1:])
    assert few == many <= 25
    finished = [one for one in reader.runs(project_rows.project) if one.info.status == "FINISHED"]
    # That of the study, too.
    assert len(finished) == sum(jobs for jobs, _, _ in counts) + 1


def test_what_is_drawn_waits_while_jobs_run_but_not_for_ever(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exports, "read_load", lambda _: BUSY)
    job = project_rows.add_finished_job()
    patient = settings.model_copy(update={"export_wait_seconds": 1e9})
    with mirroring_of(patient, tracking) as mirroring:
        assert mirroring.run_pass().exports == 0
        assert reader.run_of(project_rows.project, job=job).info.status == "FINISHED"
    # It ended in January.
    with mirroring_of(settings, tracking) as mirroring:
        assert mirroring.run_pass().exports == 1
        mirroring.exports.wait()
    assert "learning_curves.png" in reader.files(reader.run_of(project_rows.project, job=job))


def test_numbers_are_sent_while_a_model_is_exported_and_a_stopped_export_does_not_count(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(
        "worker.mirror.__main__.ModelLogger",
        lambda url, storage: ModelLogger(url, storage, helper=hang),
    )
    monkeypatch.setattr("worker.mirror.models.read_verified", lambda *_: b"")
    monkeypatch.setattr(exports, "next_files", lambda *_: [])
    monkeypatch.setattr(exports, "read_load", lambda _: IDLE)
    monkeypatch.setattr(exports, "best_checkpoint", lambda *_: _Checkpoint())
    first = project_rows.add_finished_job()
    with mirroring_of(settings, tracking) as mirroring:
        assert mirroring.run_pass().exports == 1
        assert state_of(project_rows, first)[exports.KEY] == 1
        second = project_rows.add_finished_job(seed=1)
        mirroring.note_changes({second})
        done = mirroring.run_pass()
        assert (done.jobs, done.exports) == (1, 0)
        assert mirroring.exports.is_running
    assert reader.run_of(project_rows.project, job=second).info.status == "FINISHED"
    assert state_of(project_rows, first)[exports.KEY] == 0


def test_exports_are_not_looked_for_again_where_none_was_due(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    monkeypatch.setattr(exports, "next_files", lambda *a: looks.append(a[1]) or [])
    monkeypatch.setattr(exports, "read_load", lambda _: IDLE)
    with mirroring_of(settings, tracking) as mirroring:
        for _ in range(3):
            assert mirroring.run_pass().is_idle
        assert looks == [0.0]
        job = project_rows.add_job()
        project_rows.start(job)
        mirroring.note_changes({job})
        assert mirroring.run_pass().jobs == 1
        assert looks == [0.0, 0.0]


def test_figures_that_are_refused_again_and_again_are_tried_ever_more_rarely(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("no such file")

    monkeypatch.setattr(Tracking, "send_file", refuse)
    monkeypatch.setattr(exports, "read_load", lambda _: IDLE)
    monkeypatch.setattr(exports, "next_model", lambda *_: None)
    project_rows.add_finished_job()
    attempts = []
    with mirroring_of(settings, tracking) as mirroring:
        for _ in range(3):
            mirroring.failures.end_pauses()
            assert mirroring.run_pass(everything=True).exports == 1
            mirroring.exports.wait()
            mirroring.run_pass(everything=True)
            with project_rows.sessions.begin() as session:
                attempts.append(session.scalar(select(MirrorProblem.attempts)))
    assert attempts == [1, 2, 3]


class _Checkpoint:
    path, digest = "best.pt", ""


def test_the_helper_that_exports_stays_for_the_next_model_and_ends_when_none_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = "import sys\nfor line in sys.stdin: print('{}', flush=True)"
    started: list[HelperProcess] = []
    start = HelperProcess.start

    def counted(command: list[str]) -> HelperProcess:
        started.append(start(command))
        return started[-1]

    monkeypatch.setattr("worker.mirror.models.HelperProcess.start", counted)
    logger = ModelLogger("", FolderStorage(tmp_path), helper=[sys.executable, "-c", echo])
    for _ in range(2):
        assert logger._ask({}) == {}
        logger.close_if_idle()
    assert len(started) == 1
    assert started[0].is_fresh
    logger._idle_seconds = 0.0
    logger.close_if_idle()
    assert not started[0].is_fresh


def test_while_jobs_wait_for_a_slot_passes_are_rarer_and_no_helper_keeps_its_memory(
    settings: Settings, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(
        ModelLogger, "close_if_idle", lambda _, *, at_once=False: closed.append(at_once)
    )
    monkeypatch.setattr(exports, "next_files", lambda *_: [])
    monkeypatch.setattr(exports, "next_model", lambda *_: None)
    pauses = []
    with mirroring_of(settings, tracking) as mirroring:
        for load in (BUSY, Load(is_running=True, is_queued=False), IDLE):
            monkeypatch.setattr(exports, "read_load", lambda _, load=load: load)
            mirroring.run_pass()
            pauses.append(shortest_pause(mirroring))
        monkeypatch.setattr(exports, "read_load", lambda _: BUSY)
        # Between two passes, too.
        mirroring.exports.look_at_slots()
        pauses.append(shortest_pause(mirroring))
        mirroring.note_changes(set(range(1000)))
        pauses.append(shortest_pause(mirroring))
    slow, fast = BUSY_PASS_SECONDS, PASS_SECONDS
    assert pauses == [slow, fast, fast, slow, fast]
    assert closed == [True, False, False]


def test_a_mirror_hears_which_jobs_have_changed(
    project_rows: ProjectRows, settings: Settings
) -> None:
    with locked_connection(settings.database_url) as connection:
        assert wait_for_changes(connection, 0) == set()
        with project_rows.sessions.begin() as session:
            for job_id in ("3", "5"):
                notify(session, JOBS_CHANNEL, job_id)
        heard: set[int] = set()
        wait_for(lambda: heard.update(wait_for_changes(connection, 0.1) or ()) or heard == {3, 5})
        with project_rows.sessions.begin() as session:
            notify(session, JOBS_CHANNEL, "")
        wait_for(lambda: wait_for_changes(connection, 0.1) is None)


def state_of(project_rows: ProjectRows, job_id: int) -> dict[str, Any]:
    with project_rows.sessions.begin() as session:
        return session.scalars(select(Mirrored).where(Mirrored.job_id == job_id)).one().state
