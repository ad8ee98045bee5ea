"""Which jobs and studies MLflow lacks, in which order; what is drawn and exported of them, and when."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from store.catalog.annotations import Annotation, annotate_study
from store.db import database_now
from store.db.models import Attempt, Job, Mirrored
from store.mlflow import exports, mirror
from store.mlflow.exports import Load
from tests.support.factories import acquire_job, make_job, make_study, make_worker

NOW = datetime.now(UTC)


def test_a_job_is_due_once_it_has_started_and_those_that_have_ended_come_first(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        never, running, ended, cancelled = (make_job(session).id for _ in range(4))
        change(session, running, attempt=1, status="running", changed_at=NOW)
        change(session, ended, attempt=1, status="succeeded", finished_at=NOW, changed_at=NOW)
        change(session, cancelled, status="cancelled", finished_at=NOW, changed_at=NOW)
        assert mirror.due_jobs(session, 10) == [ended, cancelled, running]
        assert mirror.due_jobs(session, 10, among={never, running}) == [running]
        assert mirror.due_jobs(session, 10, among=set()) == []


def test_a_job_with_a_run_is_due_also_when_it_is_queued_again(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        job = make_job(session).id
        mirror.open_runs(session, {job: "1"})
        assert mirror.due_jobs(session, 10) == [job]


def test_the_studies_of_jobs_that_changed_are_due_until_they_were_seen(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        study, other = make_study(session), make_study(session)
        jobs = mirror.read_study(session, study.id).jobs
        assert mirror.studies_of(session, {job.id for job in jobs}) == {study.id}
        assert mirror.due_studies(session) == {study.id: False, other.id: False}
        assert mirror.due_studies(session, {study.id}) == {study.id: False}
        row = mirror.open_runs(session, {study.id: "1"}, of_studies=True)[study.id]
        row.seen_at = max(job.changed_at for job in jobs)
        session.flush()
        assert mirror.due_studies(session, {study.id}) == {}


def test_a_study_that_changes_while_it_is_written_stays_due(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        study = make_study(session)
        row = mirror.open_runs(session, {study.id: "1"}, of_studies=True)[study.id]
    for change_comes in (True, False):
        with sessions.begin() as session:
            record = mirror.read_study(session, study.id)
        if change_comes:
            with sessions.begin() as session:
                annotate_study(session, study.id, Annotation(tags=["norms"]))
        row.seen_at, row.closed_at = record.changed_at, NOW
        with sessions.begin() as session:
            assert mirror.save(session, [row]) == {row.id}
            kept = session.get_one(Mirrored, row.id)
            assert (study.id in mirror.due_studies(session)) is change_comes
            assert kept.closed_at == (None if change_comes else NOW)


def test_watermarks_are_written_together_and_forgotten_rows_are_left_out(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        first, second, lost = (make_job(session).id for _ in range(3))
        rows = mirror.open_runs(session, dict.fromkeys((first, second, lost), "1"))
    rows[first].run_id, rows[first].seen_at, rows[first].closed_at = "a", NOW, NOW
    rows[second].run_id, rows[second].epoch, rows[second].state = "b", 7, {"sent": "x"}
    with sessions.begin() as session:
        session.delete(session.get_one(Mirrored, rows[lost].id))
    with sessions.begin() as session:
        saved = mirror.save(session, list(rows.values()))
        assert saved == {rows[first].id, rows[second].id}
    with sessions.begin() as session:
        one, two = (session.get_one(Mirrored, rows[job].id) for job in (first, second))
        assert (one.run_id, one.seen_at, one.closed_at) == ("a", NOW, NOW)
        assert (two.run_id, two.epoch, two.state, two.seen_at) == ("b", 7, {"sent": "x"}, None)


def test_an_export_that_has_waited_long_enough_is_due(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        recent, waiting = (make_job(session).id for _ in range(2))
        rows = mirror.open_runs(session, dict.fromkeys((recent, waiting), "1"))
        for row in rows.values():
            row.state = {"files": "wanted", "model": "wanted"}
        now = database_now(session)
        rows[recent].closed_at = now - timedelta(minutes=1)
        rows[waiting].closed_at = now - timedelta(hours=1)
        session.flush()
        assert [row.job_id for row in exports.next_files(session, limit=5)] == [recent, waiting]
        assert [row.job_id for row in exports.next_files(session, 1800, 5)] == [waiting]
        assert exports.next_model(session) == recent
        assert exports.next_model(session, 1800) == waiting


def test_figures_sent_of_a_run_that_has_ended_anew_are_still_wanted(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        job = make_job(session).id
        sent = mirror.open_runs(session, {job: "1"})[job]
        sent.run_id, sent.state, sent.closed_at = "a", {"files": "wanted"}, NOW
    with sessions.begin() as session:
        session.get_one(Mirrored, sent.id).closed_at = NOW + timedelta(seconds=1)
    with sessions.begin() as session:
        assert exports.note_files(session, sent)
        assert session.get_one(Mirrored, sent.id).state == {"files": "wanted"}


def test_slots_are_busy_while_an_attempt_has_not_ended(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        assert exports.read_load(session) == Load(is_running=False, is_queued=False)
        make_worker(session)
        make_job(session)
        assert exports.read_load(session) == Load(is_running=False, is_queued=True)
        assert acquire_job(session) is not None
        assert exports.read_load(session) == Load(is_running=True, is_queued=False)
        session.execute(update(Attempt).values(ended_at=NOW, end="completed"))
        assert not exports.read_load(session).is_running


def change(session: Session, job_id: int, **values: object) -> None:
    session.execute(update(Job).where(Job.id == job_id).values(**values))
