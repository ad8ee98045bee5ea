"""Tags, notes, and what is out of the way."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.catalog import annotations
from store.catalog.annotations import Annotation
from store.db.errors import WrongStatus
from store.db.models import Job, Study
from store.jobs import commands
from store.mlflow import mirror
from store.studies import studies
from tests.support.factories import make_cells, make_job, make_study
from tests.support.notifications import hear_of_jobs

Sessions = sessionmaker[Session]


def cancelled_study(session: Session) -> Study:
    study = make_study(session, cells=make_cells(("none",), (0, 1)))
    for job in studies.jobs_of(session, study.id):
        commands.request_action(session, job, "cancel", "ada")
    return study


def ids(session: Session, **filters: object) -> list[int]:
    return [job.id for job in commands.list_jobs(session, **filters).items]  # type: ignore[arg-type]


def test_what_is_not_said_stays(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)
        annotations.annotate_job(session, job.id, Annotation(tags=("a", "b"), note="x\x00y"))
        annotations.annotate_job(session, job.id, Annotation(note="z"))
        assert (job.tags, job.note, job.archived_at) == (["a", "b"], "z", None)
        annotations.annotate_job(session, job.id, Annotation(tags=()))
        assert (job.tags, job.note) == ([], "z")


def test_a_job_is_found_by_its_own_tag_and_by_its_study_s(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study, alone = cancelled_study(session), make_job(session)
        first, second = (job.id for job in studies.jobs_of(session, study.id))
        annotations.annotate_study(session, study.id, Annotation(tags=("paper",)))
        annotations.annotate_job(session, first, Annotation(tags=("best",)))
        annotations.annotate_job(session, alone.id, Annotation(tags=("paper",)))
        assert ids(session, tag="paper") == [alone.id, second, first]
        assert ids(session, tag="best") == [first]
        assert ids(session, tag="pap") == []
        assert [one.id for one in studies.list_studies(session, tag="paper").items] == [study.id]


def test_what_is_archived_is_left_out_where_it_is_not_asked_for(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study, alone = cancelled_study(session), make_job(session)
        commands.request_action(session, alone, "cancel", "ada")
        annotations.annotate_study(session, study.id, Annotation(archived=True))
        assert ids(session, archived=False) == [alone.id]
        assert studies.list_studies(session, archived=False).items == []
        assert len(ids(session)) == 3
        annotations.annotate_job(session, alone.id, Annotation(archived=True))
        assert ids(session, archived=False) == []
        annotations.annotate_study(session, study.id, Annotation(archived=False))
        assert len(ids(session, archived=False)) == 2


def test_what_has_not_ended_is_not_out_of_the_way(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study, job = make_study(session), make_job(session)
        with pytest.raises(WrongStatus, match="it is queued"):
            annotations.annotate_job(session, job.id, Annotation(archived=True))
        with pytest.raises(WrongStatus, match="has not ended"):
            annotations.annotate_study(session, study.id, Annotation(archived=True))
        assert (job.archived_at, study.archived_at) == (None, None)


def test_mlflow_is_told(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = cancelled_study(session)
        first = studies.jobs_of(session, study.id)[0]
        last = max(job.changed_at for job in studies.jobs_of(session, study.id))
        mirror.open_runs(session, {first.id: "1"})[first.id].seen_at = first.changed_at
        rows = mirror.open_runs(session, {study.id: "1"}, of_studies=True)
        rows[study.id].seen_at = last
        session.flush()
        due = {job.id for job in studies.jobs_of(session, study.id)} - {first.id}
        assert (set(mirror.due_jobs(session, 9)), mirror.due_studies(session)) == (due, {})
    with sessions.begin() as session:
        annotations.annotate_study(session, study.id, Annotation(tags=("paper",)))
        annotations.annotate_job(session, first.id, Annotation(tags=("best",)))
    with sessions.begin() as session:
        assert set(mirror.due_jobs(session, 9)) == {*due, first.id}
        assert list(mirror.due_studies(session)) == [study.id]
        assert session.get_one(Job, first.id).tags == ["best"]


def test_the_mirror_hears_of_a_study_none_of_whose_jobs_has_changed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = cancelled_study(session)
    with hear_of_jobs(sessions) as connection:
        with sessions.begin() as session:
            annotations.annotate_study(session, study.id, Annotation(tags=("paper",)))
        heard = [note.payload for note in connection.notifies(timeout=120, stop_after=1)]
    # No name of a job: any may be due.
    assert heard == [""]
