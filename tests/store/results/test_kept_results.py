"""The narrow rows of results say at every moment what the jobs say."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from store.catalog.annotations import Annotation, annotate_job
from store.db import Job, Result
from store.db.models import Transition
from store.jobs import commands
from store.query import sql
from store.query.fields import known_fields
from tests.support.catalogue import CATALOGUE
from tests.support.factories import find_digits, make_job, make_user, make_worker, set_job
from trainer.spec import JobSpec

DAY = datetime(2026, 11, 26, tzinfo=UTC)
Sessions = sessionmaker[Session]


def kept(session: Session) -> list[Any]:
    return [tuple(row) for row in session.execute(select(Result.__table__).order_by(Result.job_id))]


def assert_equal_to_jobs(session: Session) -> None:
    """As if each row had been made anew at this moment."""
    before = kept(session)
    session.execute(update(Job).values(spec=Job.spec))
    assert kept(session) == before


def test_every_usual_field_has_the_value_that_is_in_the_spec(sessions: Sessions) -> None:
    """Of each technique's example: the column is what the path into the document gives."""
    fields = [
        field
        for field in known_fields().values()
        if field.place == "spec" and not field.many and sql.column_of(field) is not None
    ]
    assert len(fields) >= 15
    with sessions.begin() as session:
        user, digits = make_user(session), find_digits(session)
        specs = [JobSpec.model_validate(document) for document in CATALOGUE.values()]
        some = [spec for spec in specs if spec.dataset.name == digits.name]
        new = [commands.NewJob(spec, spec.norm.kind) for spec in some]
        commands.create(session, user, "catalogue", digits, new)
        for spec in specs:
            if spec.dataset.name != digits.name:
                job = make_job(session, user)
                set_job(session, job.id, spec=spec.model_dump(mode="json"))
        columns = [sql.column_of(field) for field in fields]
        for spec, *values in session.execute(
            select(Job.spec, *columns).join(Result, Result.job_id == Job.id)
        ):
            for field, value in zip(fields, values, strict=True):
                section, _, name = field.path.replace('"', "").removeprefix("$.").partition(".")
                assert value == spec[section].get(name), field.name


def test_what_becomes_of_a_job_is_in_its_row(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        metrics = {"best_val_accuracy": 0.25, "test_loss": None, "best_epoch": "odd"}
        set_job(session, job.id, metrics=metrics, facts={"chance_loss": 2.5}, tags=["paper"])
        row = session.get_one(Result, job.id)
        assert (row.status, row.best_val_accuracy, row.chance_loss) == ("queued", 0.25, 2.5)
        assert (row.test_loss, row.best_epoch, row.tags) == (None, None, ["paper"])
        assert_equal_to_jobs(session)

        commands.request_action(session, job, "cancel", "ada")
        session.flush()
        annotate_job(session, job.id, Annotation(archived=True))
        session.flush()
        session.refresh(row)
        assert (row.status, row.archived, row.finished_at) == ("cancelled", True, job.finished_at)
        set_job(session, job.id, name="other", variant="wide", started_at=DAY, trial={"lr": 1})
        assert_equal_to_jobs(session)


def test_a_dataset_s_job_has_no_row_and_a_deleted_job_loses_its(sessions: Sessions) -> None:
    with sessions.begin() as session:
        of_dataset, deleted = (make_job(session) for _ in range(2))
        assert [row[0] for row in kept(session)] == [of_dataset.id, deleted.id]
        set_job(session, of_dataset.id, kind="dataset")
        assert [row[0] for row in kept(session)] == [deleted.id]
        session.execute(delete(Transition).where(Transition.job_id == deleted.id))
        session.execute(delete(Job).where(Job.id == deleted.id))
        assert kept(session) == []
