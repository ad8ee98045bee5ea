"""Results: one row per training job, and the records of one job in order."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, select, true
from sqlalchemy.orm import Session

from store.db import (
    Attempt,
    Checkpoint,
    Diagnosis,
    Epoch,
    File,
    Job,
    LogLine,
    Page,
    Project,
    Result,
    Study,
    Transition,
    User,
    decode_cursor,
    encode_cursor,
)
from store.results.columns import MORE, ROW, Column, named, numbered
from store.results.ordering import (
    KEY,
    Order,
    conditions_beyond,
    cursor_after,
    key_of,
    sequence,
)

_Record = TypeVar("_Record", Attempt, Transition, Checkpoint, File)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A training job of a study and all that a comparison reads of it; its fields are the columns `ROW` and `MORE`.

    `metrics`: None where not finite, and then `non_finite` says which of `nan`, `inf`, `-inf`; `facts`: what
    the training turned out to be (`trainer.training.facts`), `environment`: what the last attempt that started
    ran in, None before any has; `epochs`: evaluation periods; `best_seconds`: of training and validation
    until the epoch whose weights were kept.
    """

    job_id: int
    study_id: int | None
    study: str | None
    project: str | None
    owner: str
    name: str
    variant: str
    point: Mapping[str, Any]
    trial: Mapping[str, Any] | None
    seed: int
    status: str
    reason: str | None
    metrics: Mapping[str, float | None]
    non_finite: Mapping[str, str]
    tags: Sequence[str]
    epochs: int
    seconds: float
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    spec: Mapping[str, Any]
    hash: str
    facts: Mapping[str, Any] | None
    environment: Mapping[str, Any] | None
    best_seconds: float | None


def rows(
    session: Session,
    *,
    study_id: int | None = None,
    project: str | None = None,
    variant: str | None = None,
    status: str | None = None,
    owner: str | None = None,
    trials: bool = False,
    condition: ColumnElement[bool] | None = None,
    order: Order | None = None,
    columns: Sequence[Column] | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Page[dict[str, Any]]:
    """One row per training job, the newest first unless there is an order; without a limit, all.

    `trials`: include tuning trials; `condition`: from `store.query.compile`. Keys: those of `columns`, else of
    `store.results.columns.ROW`. Raises BadCursor.
    """
    matches = matching(
        study_id=study_id,
        project=project,
        variant=variant,
        status=status,
        owner=owner,
        trials=trials,
    )
    keys = joined(Result.job_id).where(matches, true() if condition is None else condition)
    if order is not None:
        ranges = [true()] if cursor is None else conditions_beyond(cursor, order)
    else:
        ranges = [true() if cursor is None else Result.job_id < decode_cursor(cursor)]
    page: list[dict[str, Any]] = []
    for beyond in ranges:
        # One more than asked for shows whether there is a next page, without counting.
        most = None if limit is None else limit + 1 - len(page)
        if most != 0:
            page += _read_page(session, keys.where(beyond).limit(most), order, columns)
    return _page(page, order, columns, limit)


def _read_page(
    session: Session, keys: Select[Any], order: Order | None, columns: Sequence[Column] | None
) -> list[dict[str, Any]]:
    """The first rows of these keys in this order, up to their limit."""
    # Two steps in one statement: which jobs are on the page is read from narrow rows and indexes, and the wide
    # documents only of those.
    chosen = (
        [column.label(name) for name, column in ROW.items()]
        if columns is None
        else [Result.job_id.label("job_id"), *numbered(columns)]
    )
    if order is None:
        place = keys.order_by(Result.job_id.desc()).subquery("page")
        statement = joined(*chosen).order_by(Result.job_id.desc())
    else:
        key = key_of(order)
        place = (
            keys.add_columns(key).order_by(*sequence(order, key, Result.job_id)).subquery("page")
        )
        sort_key = place.c[KEY]
        statement = joined(*chosen, sort_key)
        statement = statement.order_by(*sequence(order, sort_key, Result.job_id))
    statement = statement.join(place, place.c.job_id == Result.job_id)
    return [dict(row) for row in session.execute(statement).mappings()]


def each_row(
    session: Session,
    *,
    condition: ColumnElement[bool],
    order: Order | None = None,
    columns: Sequence[Column],
) -> Generator[dict[str, Any], None, None]:
    """All rows as `rows` orders them, fetched while they are taken: no more than some are in memory."""
    statement = joined(Result.job_id.label("job_id"), *numbered(columns)).where(condition)
    if order is None:
        statement = statement.order_by(Result.job_id.desc())
    else:
        statement = statement.order_by(*sequence(order, key_of(order), Result.job_id))
    # A cursor on the server: an export of 100,000 jobs never lies in this process's memory as a whole.
    with session.execute(statement, execution_options={"yield_per": 500}) as found:
        for row in found.mappings():
            yield named(dict(row), columns)


def joined(*columns: Any) -> Select[Any]:
    """These columns of results, of their jobs, and of those jobs' owners, projects and studies."""
    # Outer joins, although every result has a job and an owner: PostgreSQL leaves out an outer join of which
    # no column is read, so that a query over the whole history reads `results` alone where it can.
    return (
        select(*columns)
        .select_from(Result)
        .outerjoin(Job, Job.id == Result.job_id)
        .outerjoin(User, User.id == Result.owner_id)
        .outerjoin(Project, Project.id == Result.project_id)
        .outerjoin(Study, Study.id == Result.study_id)
    )


def matching(
    *,
    study_id: int | None = None,
    study_ids: Sequence[int] | None = None,
    project: str | None = None,
    variant: str | None = None,
    status: str | None = None,
    owner: str | None = None,
    trials: bool = False,
) -> ColumnElement[bool]:
    """The condition that all of these hold; None: any value. `study_ids`: any of them; `trials`: include tuning trials."""
    filters = {
        Result.study_id: study_id,
        Project.name: project,
        Result.variant: variant,
        Result.status: status,
        User.name: owner,
    }
    given = (column == value for column, value in filters.items() if value is not None)
    inside = true() if study_ids is None else Result.study_id.in_(study_ids)
    return and_(true() if trials else ~Result.is_trial, inside, *given)


def study_rows(session: Session, study_id: int, *, trials: bool = False) -> list[ResultRow]:
    """One row per job of the study, in the order in which they were made: its cells, or instead the trials of
    its tuning."""
    columns = (column.label(name) for name, column in {**ROW, **MORE}.items())
    statement = (
        joined(*columns)
        .where(Result.study_id == study_id, Result.is_trial == trials)
        .order_by(Result.job_id)
    )
    return [ResultRow(**row) for row in session.execute(statement).mappings()]


def epochs(
    session: Session, job_id: int, after: int = 0, limit: int | None = None
) -> Sequence[Epoch]:
    """The job's evaluation periods beyond `after`, in order."""
    statement = select(Epoch).where(Epoch.job_id == job_id, Epoch.epoch > after)
    return session.scalars(statement.order_by(Epoch.epoch).limit(limit)).all()


def diagnoses(
    session: Session, job_id: int, *, layer: str | None = None, after: int = 0, limit: int
) -> Sequence[Diagnosis]:
    """The diagnostics of the job's layers, in the order of recording; `after` is an id."""
    statement = select(Diagnosis).where(Diagnosis.job_id == job_id, Diagnosis.id > after)
    if layer is not None:
        statement = statement.where(Diagnosis.layer == layer)
    return session.scalars(statement.order_by(Diagnosis.id).limit(limit)).all()


def first_diagnoses(session: Session, job_id: int) -> dict[str, Diagnosis]:
    """The first diagnosis of each layer, from which drift is measured."""
    first = (
        select(Diagnosis.layer, func.min(Diagnosis.step).label("step"))
        .where(Diagnosis.job_id == job_id)
        .group_by(Diagnosis.layer)
        .subquery()
    )
    statement = select(Diagnosis).where(
        Diagnosis.job_id == job_id,
        Diagnosis.layer == first.c.layer,
        Diagnosis.step == first.c.step,
    )
    return {row.layer: row for row in session.scalars(statement)}


def attempts(session: Session, job_id: int) -> Sequence[Attempt]:
    """In order of their numbers."""
    return _of_job(session, Attempt, job_id, Attempt.number)


def transitions(session: Session, job_id: int) -> Sequence[Transition]:
    """In the order in which they happened."""
    return _of_job(session, Transition, job_id, Transition.id)


def checkpoints(session: Session, job_id: int) -> Sequence[Checkpoint]:
    """Newest first."""
    return _of_job(session, Checkpoint, job_id, Checkpoint.id.desc())


def files(session: Session, job_id: int) -> Sequence[File]:
    """By name."""
    return _of_job(session, File, job_id, File.name)


def logs(session: Session, job_id: int, after: int = 0, limit: int = 1000) -> Sequence[LogLine]:
    """Lines with an id beyond `after`, in order."""
    statement = select(LogLine).where(LogLine.job_id == job_id, LogLine.id > after)
    return session.scalars(statement.order_by(LogLine.id).limit(limit)).all()


def last_logs(session: Session, job_id: int, limit: int) -> Sequence[LogLine]:
    """The end of the log, in order."""
    statement = select(LogLine).where(LogLine.job_id == job_id).order_by(LogLine.id.desc())
    return session.scalars(statement.limit(limit)).all()[::-1]


def _of_job(session: Session, table: type[_Record], job_id: int, order: Any) -> Sequence[_Record]:
    return session.scalars(select(table).where(table.job_id == job_id).order_by(order)).all()


def _page(
    rows: list[dict[str, Any]],
    order: Order | None,
    columns: Sequence[Column] | None,
    limit: int | None,
) -> Page[dict[str, Any]]:
    """At most `limit` of the rows, of which one more was asked for."""
    cursor = None
    # The last row that is shown, not the one more that was asked for: that one begins the next page.
    if limit is not None and len(rows) > limit:
        rows = rows[:limit]
        last = rows[-1]["job_id"]
        cursor = cursor_after(rows[-1], last, order) if order else encode_cursor(last)
    for row in rows:
        row.pop(KEY, None)
    return Page(rows if columns is None else [named(row, columns) for row in rows], cursor)
