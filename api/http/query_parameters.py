"""The query parameters that select results, shared by rows, groups and the export."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeAlias, TypeVar

from fastapi import Depends, Query
from pydantic import Field
from sqlalchemy import ColumnElement, and_

from api.http.dependencies import Archived, Filter, PageRequest
from api.http.errors import BadParameter
from api.schemas import JobStatus
from store.db import BadQuery
from store.query import compile_query, outcomes_named, point_at
from store.results import Column, Order, matching, parse_columns, parse_order

Parsed = TypeVar("Parsed")

QUERY = """\
Which jobs: `norm.kind=group and optimizer.lr>=0.1 and best.val_accuracy>0.9`. Operators: `= != < <= > >= ~ in (…)`, \
`not in (…)`; `~`: contains, in any case; `and`, `or`, `not`, parentheses; values are numbers, words, dates, \
`true`, `false`, `null` and 'strings'. Fields: any value of a spec, `id`, `name`, `status`, `reason`, `variant`, \
`seed`, `study`, `project`, `person`, `created`, `started`, `finished`, `epochs`, `seconds`, `attempts`, `tag`, \
`archived`, `dataset`, `device`, and metrics (`best.val_accuracy`, `test_accuracy`, `metrics.NAME`). A list \
matches if any element does: `regularization.kind=dropout`, `regularization.dropout.p>0.2`. Comparisons with missing \
or non-finite values are false; `a = null` matches missing values. Archived jobs are left out unless the query says \
`archived` or the parameter `study` names their study."""


StudyIds: TypeAlias = Annotated[
    list[Annotated[int, Field(ge=1, le=2**63 - 1)]] | None,
    Query(max_length=100, description="several studies; a job may be of any of them"),
]


def build_job_filter(
    query: Annotated[str | None, Query(description=QUERY)] = None,
    study: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    studies: StudyIds = None,
    project: Filter = None,
    variant: Filter = None,
    status: JobStatus | None = None,
    owner: Filter = None,
    trials: Annotated[bool, Query(description="include tuning trials")] = False,
) -> ColumnElement[bool]:
    """All of these together."""
    condition = matching(
        study_id=study,
        study_ids=studies,
        project=project,
        variant=variant,
        status=status,
        owner=owner,
        trials=trials,
    )
    # A request that names a study gets all of its jobs, archived or not.
    archived = study is not None or studies is not None
    # Also without a query there is a condition: archived jobs are left out.
    return and_(condition, read_query(query, archived=archived))


def list_outcomes(
    query: Annotated[str | None, Query(description=QUERY)] = None, status: JobStatus | None = None
) -> list[str]:
    """By which of their outcomes `build_job_filter` selects jobs."""
    named = [] if query is None else read_parameter("query", query, outcomes_named)
    return sorted({*named, *(("status",) if status else ())})


def build_study_filter(
    query: Annotated[
        str | None,
        Query(description="studies that have a job for which this query of `GET /results` holds"),
    ] = None,
    archived: Archived = False,
) -> ColumnElement[bool] | None:
    """What a job of the study must meet."""
    return None if query is None else read_query(query, archived=archived)


def get_order(
    sort: Annotated[
        str | None,
        Query(
            max_length=200,
            description="field to sort by: `optimizer.lr`; descending: `-best.val_accuracy`",
        ),
    ] = None,
) -> Order | None:
    """Rows without a value come last."""
    return None if sort is None else read_parameter("sort", sort, parse_order)


def get_columns(
    columns: Annotated[
        str | None,
        Query(
            max_length=4000, description="fields to return: `job_id,norm.kind,best.val_accuracy`"
        ),
    ] = None,
) -> list[Column] | None:
    return None if columns is None else read_parameter("columns", columns, parse_columns)


def get_result_page(
    limit: Annotated[int, Query(ge=1, le=500, description="maximum number of items")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=20_000, description="`next_cursor` of the previous page")
    ] = None,
) -> PageRequest:
    """A cursor carries the value that rows are sorted by, which may be a long text."""
    return PageRequest(limit, cursor)


def read_query(query: str | None, *, archived: bool = False) -> ColumnElement[bool]:
    """The condition of a query; raises BadParameter."""
    if query is None:
        return compile_query(None, archived=archived)
    return read_parameter("query", query, partial(compile_query, archived=archived))


def read_parameter(parameter: str, text: str, parse: Callable[[str], Parsed]) -> Parsed:
    """The parsed parameter. Raises BadParameter with a caret under the error's position."""
    try:
        return parse(text)
    except BadQuery as error:
        raise BadParameter(parameter, point_at(text, error), error.position) from error


Jobs: TypeAlias = Annotated[ColumnElement[bool], Depends(build_job_filter)]
Outcomes: TypeAlias = Annotated[list[str], Depends(list_outcomes)]
StudiesWith: TypeAlias = Annotated[ColumnElement[bool] | None, Depends(build_study_filter)]
Sorting: TypeAlias = Annotated[Order | None, Depends(get_order)]
Columns: TypeAlias = Annotated[list[Column] | None, Depends(get_columns)]
ResultPage: TypeAlias = Annotated[PageRequest, Depends(get_result_page)]
