"""Results: the jobs that a query finds, or groups of them. The address of a view is the view."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.http import BadParameter, Reader, read_parameter, read_query, take_place
from api.services import Services, ServicesDep
from api.web.render import CONFIDENCE, PageRoute, describe_mistake, options, render
from api.web.results.cells import (
    find_metric,
    is_number,
    narrow_query,
    write_amount,
    write_cell,
    write_value,
)
from store.db import BadQuery, User
from store.query import find_field, known_fields
from store.query import write_value as quote_value
from store.results import groups as result_groups
from store.results import parse_columns, parse_keys, parse_metric, parse_order, result_rows
from studies.results import MOST_SIDES, Group, arrange, describe_groups
from studies.stats import amount

router = APIRouter(include_in_schema=False, route_class=PageRoute)

EXPORT = "/api/v1/results/export"
PAGE = 50
MOST_GROUPS = 200
#: The test set is sealed: what is shown unless something else is asked for is of validation.
METRIC = "best_val_accuracy"
COLUMNS = "best_val_accuracy,best_val_loss,best_epoch,seconds,finished"
METRICS = ("best_val_accuracy", "best_val_loss", "best_epoch", "test_accuracy", "test_loss")
#: What every row has, by the field that it is sorted by.
_FIXED = {"name": "Job", "study": "Study", "variant": "Variant", "seed": "Seed", "status": "Status"}
_HIDDEN = ("job_id", "study_id", "reason", "non_finite")


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands in the address, nothing being the empty text; `trials`: "true" lists jobs that try settings, too."""

    query: str = ""
    columns: str = ""
    sort: str = ""
    by: str = ""
    metric: str = ""
    trials: str = ""

    def link(self, path: str = "/results", **changes: str) -> str:
        """The address of this view with other values."""
        values = {**dataclasses.asdict(self), **changes}
        return f"{path}?{options(values)}"


@dataclass(frozen=True, slots=True)
class Head:
    """A column; `sort`: what the order is asked for by, None where there is none; `direction`: of the present one."""

    title: str
    sort: str | None = None
    direction: str | None = None
    is_number: bool = False


@router.get("/results", dependencies=[Depends(take_place)])
def show_results(
    request: Request,
    services: ServicesDep,
    user: Reader,
    query: str = "",
    columns: str = "",
    sort: str = "",
    by: str = "",
    metric: str = "",
    trials: bool = False,
    cursor: str | None = None,
) -> Response:
    texts = (query, columns, sort, by, metric, "true" if trials else "")
    asked = Asked(*(one.strip() for one in texts))
    mistake, view = None, dict[str, Any]()
    try:
        view = (
            _read_groups(services, asked)
            if asked.by
            else _read_jobs(services, asked, cursor or None)
        )
    except (BadParameter, BadQuery) as error:
        mistake = describe_mistake(error)
    context: dict[str, Any] = {
        "heads": (),
        "jobs": None,
        "groups": None,
        "more": None,
        "compare": None,
        "job_ids": (),
        "exports": {},
        **view,
    }
    return render(
        request,
        "results.html",
        user,
        status=422 if mistake else 200,
        title="Results",
        asked=asked,
        mistake=mistake,
        is_first=not cursor,
        defaults={"columns": COLUMNS, "metric": METRIC},
        examples=_list_examples(user),
        fields=list(known_fields().values()),
        metrics=METRICS,
        most_compared=MOST_SIDES,
        **context,
    )


def _list_examples(user: User) -> Mapping[str, Asked]:
    mine = f"person={quote_value(user.name)} and created>=2026-01-01"
    return {
        "Jobs with group norm and high accuracy, best first": Asked(
            "norm.kind=group and best.val_accuracy>0.9", sort="-best.val_accuracy"
        ),
        "Failed jobs, with reasons": Asked(
            "status=failed and reason in (oom, timeout, error)", "reason,attempts,seconds"
        ),
        "My own jobs with dropout or another learning rate": Asked(
            f"{mine} and (regularization.dropout.p>0.2 or not optimizer.lr=0.1)", "optimizer.lr"
        ),
        "Norms side by side, at each batch size": Asked(
            "study ~ norm", by="norm.kind,training.batch_size"
        ),
    }


def _read_jobs(services: Services, asked: Asked, cursor: str | None) -> dict[str, Any]:
    fixed = parse_columns(",".join((*_FIXED, *_HIDDEN)))
    names = {column.name for column in fixed}
    wanted = read_parameter("columns", asked.columns or COLUMNS, parse_columns)
    shown = [column for column in wanted if column.name not in names]
    order = read_parameter("sort", asked.sort, parse_order) if asked.sort else None
    condition = read_query(asked.query or None)
    with services.sessions.begin() as session:
        page = result_rows.rows(
            session,
            trials=bool(asked.trials),
            condition=condition,
            order=order,
            columns=[*fixed, *shown],
            cursor=cursor,
            limit=PAGE,
        )
    metrics = {column.name: find_metric(column.name) for column in shown}
    jobs = [
        {
            **row,
            "requested_action": None,
            "cells": [write_cell(row, name, metric) for name, metric in metrics.items()],
        }
        for row in page.items
    ]
    heads = [_make_head(asked, name, title) for name, title in _FIXED.items()]
    heads += [_make_head(asked, name, name, is_number=is_number(name)) for name in metrics]
    whole = dataclasses.replace(asked, columns=",".join(("job_id", *_FIXED, "reason", *metrics)))
    return {
        "jobs": jobs,
        "heads": heads,
        "job_ids": [job["job_id"] for job in jobs],
        "more": asked.link(cursor=page.next_cursor) if page.next_cursor else None,
        "exports": {
            "As CSV": whole.link(EXPORT, format="csv"),
            "JSON lines": whole.link(EXPORT, format="jsonl"),
        },
    }


def _read_groups(services: Services, asked: Asked) -> dict[str, Any]:
    keys = read_parameter("by", asked.by, parse_keys)
    metric = read_parameter("metric", asked.metric or METRIC, parse_metric)
    condition = read_query(asked.query or None)
    with services.sessions.begin() as session:
        rows = result_groups.read_groups(
            session,
            condition=condition & result_rows.matching(trials=bool(asked.trials)),
            by=keys,
            metric=metric,
            limit=MOST_GROUPS + 1,
        )
    if len(rows) > MOST_GROUPS:
        detail = (
            f"there are more than {MOST_GROUPS} groups: group by fewer fields, or narrow the query"
        )
        raise BadParameter("by", detail)
    groups = describe_groups(rows, metric.name)
    if asked.sort:
        groups = read_parameter("sort", asked.sort, lambda text: arrange(groups, text))
    heads = [_make_head(asked, key.name, key.name) for key in keys]
    heads += [
        Head(title) if name is None else _make_head(asked, name, title, is_number=True)
        for title, name in _STATISTICS.items()
    ]
    return {
        "groups": [_describe_group(asked, group) for group in groups],
        "heads": heads,
        "metric": metric.name,
        "compare": asked.link("/compare", columns="", sort="")
        if 2 <= len(groups) <= MOST_SIDES and not asked.trials
        else None,
        "exports": {
            "The groups as JSON": asked.link("/api/v1/results/groups", columns=""),
            "their jobs as CSV": Asked(asked.query, trials=asked.trials).link(EXPORT, format="csv"),
        },
    }


_STATISTICS: Mapping[str, str | None] = {
    "jobs": "jobs",
    "n": "n",
    "mean": "mean",
    f"{CONFIDENCE} interval": None,
    "best": "best",
    "diverged": "diverged",
    "failed": "failed",
    "cancelled": "cancelled",
    "pending": "pending",
}


def _describe_group(asked: Asked, group: Group) -> dict[str, Any]:
    """`jobs`: where those of the group are listed, None where no query says which they are."""
    query = narrow_query(asked.query, group.by)
    interval = group.interval and "{} to {}".format(
        *(amount(bound, group.metric) for bound in group.interval)
    )
    mean, std = (write_amount(one, group.metric) for one in (group.mean, group.std))
    return {
        "values": [write_value(value) for value in group.by.values()],
        "jobs": None if query is None else Asked(query=query, trials=asked.trials).link(),
        "cells": [
            group.jobs,
            group.n,
            f"{mean} ± {std}" if group.std is not None else mean,
            interval or "–",
            write_amount(group.best, group.metric),
            group.diverged,
            group.failed,
            group.cancelled,
            group.pending,
        ],
    }


def _make_head(asked: Asked, name: str, title: str, *, is_number: bool = False) -> Head:
    """With the order that a click asks for: falling first, then rising."""
    falling = f"-{name}"
    try:
        if not asked.by:
            find_field(name)
    except BadQuery:
        return Head(title, is_number=is_number)
    direction = {name: "ascending", falling: "descending"}.get(asked.sort)
    sort = name if direction == "descending" else falling
    return Head(title, asked.link(sort=sort), direction, is_number)
