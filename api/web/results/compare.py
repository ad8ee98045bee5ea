"""Groups of a query, or the variants of several studies, side by side."""

import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy import and_

from api.http import (
    BadParameter,
    NotFound,
    Reader,
    describe_group,
    find_word,
    read_query,
    take_place,
)
from api.routes.results import MOST_STUDIES, read_side_by_side
from api.services import Services, ServicesDep
from api.web.forest import make_forest
from api.web.render import Mistake, PageRoute, describe_mistake, options, render
from api.web.results.listing import METRIC, METRICS
from store.db import BadQuery
from store.query import known_fields, outcomes_named, spec_fields
from store.results import matching
from studies.results import MOST_SIDES, ComparedGroup, SideBySide

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/compare", dependencies=[Depends(take_place)])
def show_comparison(
    request: Request,
    services: ServicesDep,
    user: Reader,
    studies: Annotated[list[str] | None, Query()] = None,
    query: str = "",
    by: str = "",
    metric: str = "",
    reference: str = "",
) -> Response:
    typed = {"query": query, "by": by, "metric": metric, "reference": reference}
    asked = {name: text.strip() for name, text in typed.items()}
    asked["studies"] = " ".join(studies or ()).strip()
    mistake, comparison, status = None, None, HTTPStatus.OK
    try:
        if asked["by"] or asked["studies"]:
            comparison = _compare(services, asked)
    except (BadParameter, BadQuery) as error:
        mistake, status = describe_mistake(error), HTTPStatus.UNPROCESSABLE_ENTITY
    except NotFound as error:
        mistake, status = Mistake("studies", error.detail, "", None), error.status
    return render(
        request,
        "compare.html",
        user,
        status=status,
        title="Compare",
        asked=asked,
        mistake=mistake,
        default=METRIC,
        metrics=METRICS,
        fields=list(known_fields().values()),
        most={"groups": MOST_SIDES, "studies": MOST_STUDIES},
        **_describe(comparison, asked),
    )


def _compare(services: Services, asked: dict[str, str]) -> SideBySide:
    numbers = _read_numbers(asked["studies"])
    # Whoever names a study gets all of its jobs, archived or not.
    condition = read_query(asked["query"] or None, archived=bool(numbers))
    return read_side_by_side(
        services,
        and_(matching(study_ids=numbers or None), condition),
        outcomes=outcomes_named(asked["query"] or None),
        by=asked["by"] or None,
        studies=numbers,
        metric=asked["metric"] or METRIC,
        reference=asked["reference"] or None,
    )


def _read_numbers(text: str) -> list[int]:
    """`3 s7` or `3, 7`; raises BadParameter."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    wrong = next((word for word in words if not re.fullmatch(r"s?[0-9]{1,18}", word)), None)
    if wrong is not None:
        detail = f"studies are named by their numbers, like 3 or s3, but got {wrong[:60]!r}"
        raise BadParameter("studies", detail)
    return [int(word.removeprefix("s")) for word in words]


def _describe(comparison: SideBySide | None, asked: dict[str, str]) -> dict[str, Any]:
    if comparison is None:
        return {"comparison": None}
    explained: dict[str, dict[str, None]] = {}
    for confound in comparison.confounds:
        if confound.causes:
            explained.setdefault(confound.what, {}).update(dict.fromkeys(confound.causes))
    numbers = _read_numbers(asked["studies"])
    repeated = "".join(f"&studies={number}" for number in numbers)
    return {
        "comparison": comparison,
        "rows": [_describe_group(group, comparison.metric) for group in comparison.groups],
        "forest": make_forest(
            comparison.metric, [(group.name, group.difference) for group in comparison.groups]
        ),
        "differing": [
            confound.describe(comparison.reference)
            for confound in comparison.confounds
            if confound.is_open
        ],
        "explained": [f"{what}, by {', '.join(causes)}" for what, causes in explained.items()],
        "finer": _suggest_finer(comparison, asked),
        "address": f"/api/v1/results/comparison?{options({**asked, 'studies': None})}{repeated}",
    }


def _suggest_finer(comparison: SideBySide, asked: dict[str, str]) -> dict[str, str]:
    """Comparisons by what keeps jobs from being pairs, too: the fields, and where it is."""
    by = [name.strip() for name in (asked["by"] or "variant").split(",")]
    differing = dict.fromkeys(
        reason.fields for group in comparison.groups for reason in group.unpaired
    )
    names = spec_fields()
    return {
        ",".join(
            (*by, *fields)
        ): f"/compare?{options({**asked, 'by': ','.join((*by, *fields)), 'reference': None})}"
        for fields in differing
        if fields and all(name in names and name not in by for name in fields)
    }


def _describe_group(group: ComparedGroup, metric: str) -> dict[str, Any]:
    """A row of the table; `study`: the one that an arm is of."""
    return {
        "name": group.name,
        "study": group.by.get("study"),
        "cells": describe_group(group, metric),
        "finding": find_word(group),
    }
