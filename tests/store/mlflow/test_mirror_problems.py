"""What MLflow lacks is counted, tried less and less often, and told to those whose it is."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job, Mirrored, MirrorProblem
from store.mlflow import exports, mirror, mirror_problems
from store.mlflow.mirror_problems import Subject, pause_after
from tests.support.factories import make_job, make_study


def test_pauses_grow_up_to_an_hour() -> None:
    pauses = [pause_after(attempts) for attempts in (1, 2, 3, 10, 11, 10_000)]
    assert pauses == [5, 10, 20, 2560, 3600, 3600]


def test_failures_of_one_thing_are_one_problem_that_keeps_its_beginning(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        subject = Subject("run", job_id=make_job(session).id)
        assert mirror_problems.record_failure(session, subject, "no", at_once=True) == 0
        since = session.scalars(select(MirrorProblem.since)).one()
    with sessions.begin() as session:
        assert mirror_problems.record_failure(session, subject, "still no", at_once=True) == 10
    with sessions.begin() as session:
        [row] = session.scalars(select(MirrorProblem))
        assert (row.attempts, row.reason, row.since) == (2, "still no", since)
        mirror_problems.clear(session, subject)
        assert mirror_problems.count(session) == 0


def test_a_reason_that_postgresql_would_refuse_is_recorded_without_what_it_refuses(
    sessions: sessionmaker[Session],
) -> None:
    """Such an error must not look like a database that is away, nor end the mirror."""
    reason = "MlflowException: refused \x00 and \udcff"
    with sessions.begin() as session:
        job = make_job(session).id
        mirror_problems.record_failure(session, Subject("run", job_id=job), reason, at_once=False)
        mirror_problems.note(session, Subject("model", job_id=job), reason)
        reasons = [row.reason for row in session.scalars(select(MirrorProblem))]
        assert reasons == ["MlflowException: refused \ufffd and ?"] * 2


def test_a_note_says_whether_anything_changed(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        subject = Subject("model", job_id=make_job(session).id)
        mirror_problems.record_failure(session, subject, "refused", at_once=False)
        reasons = ["refused", "refused", "a \x00", "a \x00"]
        changed = [mirror_problems.note(session, subject, reason) for reason in reasons]
        assert changed == [True, False, True, False]


def test_what_rests_is_not_due_and_everything_else_is(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        failed, deleted, fine = (make_job(session).id for _ in range(3))
        session.execute(update(Job).values(attempt=1))
        mirror_problems.record_failure(session, Subject("run", job_id=failed), "no", at_once=False)
        mirror_problems.note(session, Subject("deleted", job_id=deleted), "deleted")
        mirror_problems.note(session, Subject("model", job_id=fine), "no model")
        assert mirror.due_jobs(session, 10) == [fine]
        mirror_problems.try_now(session)
        assert mirror.due_jobs(session, 10) == [failed, fine]


def test_no_file_and_no_model_of_a_deleted_run_is_due(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        job = make_job(session)
        state = {"files": "wanted", "model": "wanted"}
        session.add(
            Mirrored(
                job_id=job.id, run_id="a", experiment_id="1", closed_at=job.created_at, state=state
            )
        )
        session.flush()
        assert len(exports.next_files(session)) == 1
        assert exports.next_model(session) == job.id
        mirror_problems.note(session, Subject("deleted", job_id=job.id), "deleted")
        assert exports.next_files(session) == []
        assert exports.next_model(session) is None


def test_a_study_has_its_own_problems_its_projects_and_its_jobs(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        study, other = make_study(session), make_study(session)
        job = session.scalars(select(Job.id).where(Job.study_id == study.id)).first()
        mirror_problems.note(session, Subject("deleted", job_id=job), "of the job")
        mirror_problems.note(session, Subject("run", study_id=study.id), "of the study")
        mirror_problems.note(
            session, Subject("experiment", project_id=study.project_id), "of the project"
        )
        problems = mirror_problems.of_studies(session, [study.id, other.id])
        reasons = [row.reason for row in problems[study.id]]
        assert reasons == ["of the study", "of the project", "of the job"]
        assert [row.reason for row in problems[other.id]] == ["of the project"]
        assert [row.reason for row in mirror_problems.of_jobs(session, [job or 0])[job or 0]] == [
            "of the job"
        ]
        names = {one.name for one in mirror_problems.list_problems(session, 10)}
        assert {study.name, "default"} <= names
