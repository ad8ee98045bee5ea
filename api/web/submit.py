"""The page to submit from: a document to start with, and what the service says of what was made of it."""

import math
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api.http import (
    ApiError,
    FieldError,
    Filter,
    Reader,
    as_api_error,
    find_places,
    is_known,
    read_body,
    read_mapping,
)
from api.routes.plans import make_plan
from api.schemas import BillView, PlanView
from api.services import ServicesDep
from api.web import starts
from api.web.render import PageRoute, duration, render
from store.catalog import datasets
from store.db import User
from store.hosts import describe_bytes
from store.results import overview
from studies.presets import presets
from studies.stats import count

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: Of a plan's arms, and of those that take a default, so many are listed.
MOST_ARMS = 50

Number = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


@router.get("/submit")
def show_submit(
    request: Request,
    services: ServicesDep,
    user: Reader,
    template: Filter = None,
    preset: Filter = None,
    scale: Filter = None,
    dataset: Filter = None,
    study: Number = None,
    catalog: Filter = None,
    job: Number = None,
    init_from: Number = None,
) -> Response:
    with services.sessions.begin() as session:
        if study is not None:
            start = starts.from_study(session, study)
        elif job is not None:
            start = starts.from_job(session, job)
        elif init_from is not None:
            start = starts.from_weights(session, init_from)
        elif catalog is not None:
            start = starts.from_catalog(catalog)
        elif preset is not None:
            start = starts.from_preset(preset, scale, dataset)
        else:
            start = starts.from_template(template or "study", dataset)
        names = datasets.names(session)
    return render(
        request,
        "submit.html",
        user,
        title="Submit",
        start=start,
        templates=starts.TEMPLATES,
        presets=presets().values(),
        datasets=names,
        may_submit=_may_submit(user),
    )


@router.post("/submit/check")
async def check(request: Request, services: ServicesDep, user: Reader) -> Response:
    """What the document in the body would train, or what is wrong with it; that is no error here, where it is being
    written."""
    try:
        body = await read_body(request, services)
        # Of one person no two at a time: each may hold one of the few threads for seconds.
        with services.drafts.held_by(user.id):
            document = await read_mapping(request, body)
            plan = await run_in_threadpool(make_plan, services, user, document)
    except Exception as error:
        if not is_known(error):
            raise
        return _show_problems(request, user, as_api_error(error))
    return await run_in_threadpool(_show_plan, request, services, user, plan)


def _may_submit(user: User) -> bool:
    return user.role != "viewer"


def _show_problems(request: Request, user: User, error: ApiError) -> Response:
    problems = sorted(find_places(request, error), key=_by_line) or [
        FieldError(detail=error.detail)
    ]
    retry = (error.headers or {}).get("Retry-After")
    return render(
        request,
        "checked.html",
        user,
        # Asked again by the page, and no fault of the document.
        summary="Not checked yet" if retry else count(len(problems), "problem"),
        problems=problems,
        plan=None,
        retry=retry,
    )


def _by_line(problem: FieldError) -> tuple[float, int]:
    """As it is read; what is on no line last."""
    return problem.line or math.inf, problem.column or 0


def _show_plan(request: Request, services: ServicesDep, user: User, plan: PlanView) -> Response:
    with services.sessions.begin() as session:
        waiting = sum(one.queued for one in overview.shares(session))
    return render(
        request,
        "checked.html",
        user,
        summary=f"A valid {plan.kind}",
        problems=(),
        plan=plan,
        facts=_describe(plan, waiting),
        collection="studies" if plan.kind == "study" else "jobs",
        may_submit=_may_submit(user),
        most=MOST_ARMS,
        retry=None,
    )


def _describe(plan: PlanView, waiting: int) -> Mapping[str, str]:
    """What is said of a plan, in words. The bill is the time on devices: that is what is shared."""
    facts = {
        "Jobs": _count_jobs(plan),
        "Steps": f"{plan.steps:,} at most",
        **_describe_bill(plan.bill),
        "Queue": f"{count(waiting, 'job')} {'waits' if waiting == 1 else 'wait'} now"
        if waiting
        else "empty now",
    }
    if plan.verdict:
        facts["Verdict"] = _capital(plan.verdict.sentence)
    return facts


def _count_jobs(plan: PlanView) -> str:
    """`32 (4 variants × 8 seeds)`."""
    if plan.kind == "job":
        return "1"
    jobs = plan.then or plan.count
    factors = [(plan.variants, "variant"), (plan.points, "point"), (plan.seeds, "seed")]
    product = " × ".join(count(*one) for one in factors if one[1] != "point" or one[0] > 1)
    whole = plan.variants * plan.points * plan.seeds
    left_out = f", minus {whole - jobs} excluded" if jobs < whole else ""
    at_most = "at most " if plan.later_trials else ""
    first = "pretraining" if plan.pretrainings else "trial"
    trials = f"{at_most}{count(plan.count + plan.later_trials, first)}, then " if plan.then else ""
    grows = plan.most_seeds > plan.seeds
    most = f", at most {jobs // plan.seeds * plan.most_seeds} with {plan.most_seeds} seeds" if grows else ""  # fmt: skip
    return f"{trials}{jobs} ({product}{left_out}){most}"


_BASES = {
    "same": "estimated from finished jobs, some of them of the same variants",
    "shape": "estimated from finished jobs of the same model, norm, data and batch size",
    "scaled": "a rough guess from finished jobs of another size",
}


def _describe_bill(bill: BillView) -> Mapping[str, str]:
    facts = {}
    if bill.reused:
        facts["Reused"] = f"{bill.reused} of {count(bill.jobs, 'job')}: trained before"
    if bill.device_seconds is None:
        return facts | {"Bill": "unknown: no comparable job has been trained"}
    if bill.basis is None:
        return facts | {"Bill": "nothing is left to train"}
    usual = f"; usually off by {bill.usual_error:.0%}" if bill.usual_error is not None else ""
    least = bill.least_device_seconds
    from_least = f"{duration(least)} to " if least is not None else ""
    facts["Bill"] = (
        f"{from_least}{duration(bill.device_seconds)} of device time ({_BASES[bill.basis]}{usual})"
    )
    if bill.wall_seconds is not None:
        facts["Done in"] = f"{duration(bill.wall_seconds)}, with the current queue"
    elif not bill.unknown:
        facts["Done in"] = "unknown: no worker with such a device is running"
    sizes = {"Memory": bill.memory_bytes, "Disk": bill.stored_bytes}
    return facts | {
        name: describe_bytes(found) for name, found in sizes.items() if found is not None
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
