"""Sessions that hide private projects from whoever may not read them, in every query that doesn't ask for everything.

A filter that each query had to remember would be forgotten in one. Here it is a default: each statement of such a session
gets SQLAlchemy's loader criteria, which act wherever one of these tables stands as an entity, in subqueries, too. Where
nothing is hidden from the reader, statements stay as they are. The criteria don't act on SQL as text and on `Table`
objects, and so not where a query uses one of those on purpose. Neither do they act on a statement that names these tables
only inside FILTER, OVER, WITHIN GROUP, EXTRACT, AND or OR, which SQLAlchemy doesn't take for one of the ORM: such an aggregate
needs a `select_from(Job)`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    all_,
    event,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import ORMExecuteState, Session, sessionmaker
from sqlalchemy.orm.interfaces import ORMOption
from sqlalchemy.orm.util import LoaderCriteriaOption

from store.access.rule import Access
from store.db import (
    Attempt,
    Checkpoint,
    Diagnosis,
    Epoch,
    File,
    Job,
    LogLine,
    Mirrored,
    MirrorProblem,
    Project,
    Result,
    StartEstimate,
    Study,
    Transition,
    Verdict,
)

#: The option of a statement, or the entry in a session's `info`, that it shows everything.
EVERYTHING = "everything"

#: Whose request this is. Without one, as before a login, every private project is hidden.
_reader: ContextVar[Access | None] = ContextVar("reader", default=None)

_jobs, _studies, _projects = (entity.__table__ for entity in (Job, Study, Project))


def read_as(access: Access | None) -> None:
    """For what comes in this context (a request, and the threads that work for it)."""
    _reader.set(access)


def current() -> Access:
    """Of whoever this request is from; of nobody, one that may do nothing."""
    return _reader.get() or Access(0, "viewer", {})


def hide_private(sessions: sessionmaker[Session]) -> sessionmaker[Session]:
    """The same, whose sessions show what the reader of the context may read."""
    event.listen(sessions, "do_orm_execute", _hide)
    return sessions


@contextmanager
def everything(session: Session) -> Iterator[None]:
    """For statements whose answers tell nothing of what is in a project: the queue, limits, sums."""
    before = session.info.get(EVERYTHING, False)
    session.info[EVERYTHING] = True
    try:
        yield
    finally:
        session.info[EVERYTHING] = before


class _Criteria(LoaderCriteriaOption):
    """SQLAlchemy leaves the condition on the table itself where a query joins an alias of it."""

    _traverse_internals = LoaderCriteriaOption._traverse_internals

    def _resolve_where_criteria(self, ext_info: Any) -> ColumnElement[bool]:
        condition = super()._resolve_where_criteria(ext_info)
        if not ext_info.is_aliased_class:
            return condition
        adapted: ColumnElement[bool] = ext_info._adapter.traverse(condition)
        return adapted


def _hide(state: ORMExecuteState) -> None:
    reader = _reader.get()
    if reader is not None and not reader.hidden:
        return
    if state.session.info.get(EVERYTHING) or state.execution_options.get(EVERYTHING):
        return
    # What belongs to a loaded row comes with the options of the statement that has loaded it.
    if state.is_column_load or state.is_relationship_load:
        return
    if state.is_select or state.is_update or state.is_delete:
        hidden = None if reader is None else reader.hidden
        state.statement = state.statement.options(*_options(hidden))


@lru_cache(maxsize=256)
def _options(hidden: frozenset[int] | None) -> Sequence[ORMOption]:
    """`hidden`: None: all private projects."""
    if hidden is None:
        is_private = _projects.c.visibility == literal_column("'private'")
        project_ids: Any = select(_projects.c.id).where(is_private).scalar_subquery()
    else:
        project_ids = literal(sorted(hidden), ARRAY(BigInteger))

    def outside(project_id: Any) -> ColumnElement[bool]:
        return or_(project_id.is_(None), project_id != all_(project_ids))

    def of_shown(table: Any, key: Any) -> ColumnElement[bool]:
        """Of a row that belongs to a job or study: whether that one is shown."""
        owners = table.alias()
        shown = select(owners.c.id).where(owners.c.id == key, outside(owners.c.project_id))
        return or_(key.is_(None), shown.exists()) if key.nullable else shown.exists()

    of_both = (File, Mirrored, MirrorProblem)
    criteria: dict[Any, list[ColumnElement[bool]]] = {
        Project: [Project.id != all_(project_ids)],
        **{entity: [outside(entity.project_id)] for entity in (Job, Study, Result)},
        **{
            entity: [of_shown(_jobs, entity.job_id)]
            for entity in (
                Attempt, Checkpoint, Diagnosis, Epoch, LogLine, StartEstimate, Transition,
            )
        },
        **{
            entity: [of_shown(_jobs, entity.job_id), of_shown(_studies, entity.study_id)]
            for entity in of_both
        },
        Verdict: [of_shown(_studies, Verdict.study_id)],
    }  # fmt: skip
    criteria[MirrorProblem].append(outside(MirrorProblem.project_id))
    return [
        _Criteria(entity, condition, include_aliases=True)
        for entity, conditions in criteria.items()
        for condition in conditions
    ]
