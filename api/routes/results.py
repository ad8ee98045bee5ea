"""Results of training jobs: as rows, in groups, side by side, and as a file."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import ColumnElement

from api.http import (
    TABLES,
    TYPES,
    BadParameter,
    Columns,
    ExportFormat,
    Jobs,
    Outcomes,
    ResultPage,
    Sorting,
    StudyIds,
    TableFormat,
    get_current_user,
    read_parameter,
    respond_with_groups,
    spool_jobs,
    spool_rows,
    take_place,
)
from api.routes.studies import find_study
from api.schemas import ChosenRows, Listing, ResultView
from api.services import Services, ServicesDep
from store.query import is_outcome
from store.results import (
    SPEC_WITHOUT_SEED,
    Column,
    compared,
    parse_columns,
    parse_keys,
    parse_metric,
    result_rows,
)
from store.results import groups as result_groups
from studies.results import (
    MOST_JOBS,
    Group,
    SideBySide,
    arrange,
    choose_reference,
    compare_sides,
    describe_groups,
    export,
    group_by_arm,
    group_by_fields,
)

router = APIRouter(tags=["results"], dependencies=[Depends(get_current_user)])

MOST_STUDIES = 6


@router.get(
    "/results",
    summary="List results: one row per job, newest first unless sorted",
    dependencies=[Depends(take_place)],
)
def list_results(
    services: ServicesDep, page: ResultPage, jobs: Jobs, sort: Sorting, columns: Columns
) -> Listing[ResultView] | ChosenRows:
    """Diverged, failed and unfinished jobs are included."""
    with services.sessions.begin() as session:
        listing = result_rows.rows(
            session,
            trials=True,  # It is for the condition to leave them out.
            condition=jobs,
            order=sort,
            columns=columns,
            cursor=page.cursor,
            limit=page.limit,
        )
    if columns is not None:
        return ChosenRows(items=list(listing.items), next_cursor=listing.next_cursor)
    items = [ResultView.model_validate(row) for row in listing.items]
    return Listing(items=items, next_cursor=listing.next_cursor)


@router.get(
    "/results/groups",
    summary="Group results by the values of any fields, with statistics",
    dependencies=[Depends(take_place)],
)
def list_groups(
    services: ServicesDep,
    jobs: Jobs,
    by: Annotated[
        str, Query(max_length=1000, description="fields to group by: `norm.kind,optimizer.lr`")
    ],
    metric: Annotated[
        str,
        Query(max_length=200, description="`best.val_accuracy`, `test_accuracy`, `metrics.NAME`"),
    ] = "best_val_accuracy",
    sort: Annotated[
        str | None,
        Query(max_length=200, description="`mean`, `n` or a field of `by`; descending: `-mean`"),
    ] = None,
) -> Listing[Group]:
    """Ordered by the fields' values. A diverged job counts with its best checkpoint, else with the score of
    guessing; failed and unfinished jobs are counted but have no value."""
    keys = read_parameter("by", by, parse_keys)
    score = read_parameter("metric", metric, parse_metric)
    with services.sessions.begin() as session:
        rows = result_groups.read_groups(session, condition=jobs, by=keys, metric=score)
    groups = describe_groups(rows, score.name)
    if sort is not None:
        groups = read_parameter("sort", sort, lambda text: arrange(groups, text))
    return Listing(items=groups)


@router.get(
    "/results/comparison",
    summary="Compare groups of any query, or the variants of several studies, side by side",
    response_model=SideBySide,
    responses=TABLES,
    dependencies=[Depends(take_place)],
)
def read_result_comparison(
    services: ServicesDep,
    jobs: Jobs,
    outcomes: Outcomes,
    by: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="fields to group by: `norm.kind`; without it, the variants of `studies` are compared",
        ),
    ] = None,
    studies: StudyIds = None,
    metric: Annotated[
        str,
        Query(max_length=200, description="`best.val_accuracy`, `best_val_loss`, `metrics.NAME`"),
    ] = "best_val_accuracy",
    reference: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="the group that all others are compared with, one of `references`; default: `none`, otherwise the first",
        ),
    ] = None,
    format: Annotated[
        TableFormat | None,
        Query(description="only the groups, as a table; default: the whole comparison as json"),
    ] = None,
) -> SideBySide | Response:
    """Exploratory: nothing of it was fixed beforehand. Jobs with the same seed, the same data and equal settings but for
    what is compared are pairs; groups that have some are tested by them, the others only stand beside."""
    comparison = read_side_by_side(
        services,
        jobs,
        outcomes=outcomes,
        by=by,
        studies=studies,
        metric=metric,
        reference=reference,
    )
    return comparison if format is None else respond_with_groups(comparison, format)


def read_side_by_side(
    services: Services,
    jobs: ColumnElement[bool],
    *,
    outcomes: Sequence[str],
    by: str | None,
    studies: list[int] | None,
    metric: str,
    reference: str | None,
) -> SideBySide:
    """By fields, or else by the variants of studies; `outcomes`: the fields of their results by which the jobs were
    selected. Raises BadParameter, BadQuery and NotFound."""
    keys = [] if by is None else read_parameter("by", by, parse_keys)
    score = read_parameter("metric", metric, parse_metric)
    numbers = [] if keys else _read_studies(studies)
    with services.sessions.begin() as session:
        documents = [find_study(session, number) for number in numbers]
        rows = compared.read_compared(session, jobs, keys, MOST_JOBS)
    # Tests need nothing of the database.
    sides = group_by_fields(rows) if keys else group_by_arm(rows, documents)
    if reference is not None:
        read_parameter("reference", reference, lambda text: choose_reference(sides, text))
    names = [key.name for key in keys]
    outcomes = list(dict.fromkeys((*outcomes, *filter(is_outcome, names))))
    return compare_sides(sides, score.name, by=names, reference=reference, outcomes=outcomes)


def _read_studies(studies: list[int] | None) -> list[int]:
    numbers = list(dict.fromkeys(studies or ()))
    if not studies:
        raise BadParameter(
            "by", f"name the fields to group by, or 2 to {MOST_STUDIES} `studies` to compare"
        )
    if not 2 <= len(numbers) <= MOST_STUDIES:
        detail = f"2 to {MOST_STUDIES} studies can be compared, but got {len(numbers)}"
        raise BadParameter("studies", detail)
    return numbers


@router.get(
    "/results/export",
    summary="Export results as one file: a line per job, a column per field",
    response_class=StreamingResponse,
    responses={200: {"content": {kind: {} for kind in TYPES.values()}}},
    dependencies=[Depends(take_place)],
)
def export_results(
    services: ServicesDep,
    jobs: Jobs,
    sort: Sorting,
    columns: Columns,
    format: Annotated[ExportFormat, Query(description="`jsonl`: a JSON object per line")] = "csv",
) -> StreamingResponse:
    """All matching jobs, from one consistent snapshot. Without `columns`: all fields of a job, its metrics and its
    spec, named as in queries. Non-finite metrics are `nan`, `inf`, `-inf` in CSV; in JSON lines they are null
    and named in `non_finite`."""
    selected = columns or _all_columns()
    spool = partial(spool_rows, columns=[one.name for one in columns]) if columns else spool_jobs
    with services.sessions.begin() as session:
        rows = result_rows.each_row(session, condition=jobs, order=sort, columns=selected)
        # Read to the end before the transaction ends, and sent afterwards: a client on a slow line must hold
        # neither a connection nor a snapshot, which would keep the vacuum from its work.
        lines = spool(_at_most(rows, services.settings.export_rows), format=format)
    return StreamingResponse(
        lines,
        media_type=TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="results.{format}"'},
    )


def _at_most(
    rows: Generator[Mapping[str, Any], None, None], most: int
) -> Iterator[Mapping[str, Any]]:
    """Raises BadParameter: nothing has been sent yet."""
    with closing(rows):
        for number, row in enumerate(rows):
            if number == most:
                raise BadParameter(
                    "query",
                    f"more than {most} jobs match, the most that one export may hold: export them in parts, "
                    "for instance `created<2026-01-01` and `created>=2026-01-01`",
                )
            yield row


def _all_columns() -> list[Column]:
    return [
        *parse_columns(",".join((*export.COLUMNS, *export.DOCUMENTS))),
        SPEC_WITHOUT_SEED,
    ]
