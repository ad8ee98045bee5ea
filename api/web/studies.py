"""Studies: the list, and one study: its answer first, then what it rests on."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import BadParameter, Filter, Id, Reader, may_change, read_query
from api.routes.reports import write_document
from api.routes.results import MOST_STUDIES
from api.routes.studies import find_study
from api.routes.study_views import build_study_views
from api.schemas import StudyView
from api.services import Services, ServicesDep
from api.web.forest import make_forest
from api.web.pictures import make_own_figure
from api.web.render import PageRoute, describe_mistake, options, render, render_part
from api.web.results import Asked
from store.db import Study
from store.mlflow import links
from store.studies import list_job_ids, measure_pace, studies
from studies.comparison import compare, read_evidence
from studies.report import JobReport, fetch_arrays, make_page, read_report
from studies.spec import PRETRAINING, read_study
from studies.stats import higher_is_better, validation_metric

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PAGE = 25
#: How long a study's page waits for results with the latest changes, before it shows those of before them; and, where
#: nobody has looked at the study yet, before it says that they are being made.
LATE_SECONDS, FIRST_LATE_SECONDS = 0.05, 0.3
#: Of a study of more jobs, the results take longer than that: its page doesn't wait at all.
MOST_AWAITED_JOBS = 200


@router.get("/studies")
def list_studies(
    request: Request,
    services: ServicesDep,
    user: Reader,
    project: Filter = None,
    owner: Filter = None,
    tag: Filter = None,
    query: str = "",
    archived: bool = False,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    wanted = {
        "project": project or None,
        "owner": owner or None,
        "tag": tag or None,
        "query": query.strip() or None,
        "archived": "true" if archived else None,
    }
    mistake, views, next_cursor = None, list[StudyView](), None
    try:
        views, next_cursor = _read_list(services, wanted, cursor)
    except BadParameter as error:
        mistake = describe_mistake(error)
    more = options({**wanted, "cursor": next_cursor}) if next_cursor else ""
    return render(
        request,
        "studies.html",
        user,
        status=422 if mistake else 200,
        title="Studies",
        studies=views,
        mistake=mistake,
        wanted=wanted,
        is_filtered=any(wanted.values()),
        is_first=cursor is None,
        more=more,
        most_compared=MOST_STUDIES,
    )


def _read_list(
    services: Services, wanted: Mapping[str, str | None], cursor: str | None
) -> tuple[list[StudyView], str | None]:
    """With the cursor of the next page."""
    archived, query = bool(wanted["archived"]), wanted["query"]
    with_job = read_query(query, archived=archived) if query else None
    with services.sessions.begin() as session:
        listing = studies.list_studies(
            session,
            project=wanted["project"],
            owner=wanted["owner"],
            tag=wanted["tag"],
            archived=archived,
            with_job=with_job,
            cursor=cursor or None,
            limit=PAGE,
        )
        return build_study_views(services, session, listing.items), listing.next_cursor


@router.get("/studies/{study_id}/sentence")
def read_sentence(request: Request, services: ServicesDep, user: Reader, study_id: Id) -> Response:
    """The verdict of one study, which a list asks for when it comes into view."""
    with services.readers() as session:
        study = find_study(session, study_id)
    kept = services.kept_verdicts.read(study_id, lambda: read_verdict(services, study))
    return render(request, "sentence.html", user, **kept)


@router.get("/studies/{study_id}")
def show_study(request: Request, services: ServicesDep, user: Reader, study_id: Id) -> Response:
    with services.sessions.begin() as session:
        study = find_study(session, study_id)
        [view] = build_study_views(services, session, [study])
        is_final = not any(view.counts[one] for one in ("queued", "running", "paused"))
        pace = None if is_final or _is_trying(study, view) else measure_pace(session, study_id)
    is_awaited = sum(view.counts.values()) <= MOST_AWAITED_JOBS
    found = services.kept_results.find(
        study_id,
        lambda: read_results(services, study),
        seconds=LATE_SECONDS if is_awaited else 0.0,
        first_seconds=FIRST_LATE_SECONDS if is_awaited else 0.0,
    )
    return render(
        request,
        "study.html",
        user,
        title=view.name,
        study=view,
        table_url=links.table_url(view.mlflow_url) if view.mlflow_url else None,
        may_change=may_change(user, view.owner, study.project_id),
        is_late=found.is_late,
        is_final=is_final,
        pace=pace,
        **(found.content or {"page": None, "results": ""}),
    )


def _is_trying(study: Study, view: StudyView) -> bool:
    """Whether jobs will be made that are not there yet."""
    if (pretraining := view.pretraining) is not None:
        return pretraining.succeeded + pretraining.failed < pretraining.jobs
    tries = study.spec.get("search") is not None or study.spec.get("tune") is not None
    return tries and view.tuning is None


def read_verdict(services: Services, study: Study) -> tuple[dict[str, Any], list[int]]:
    """Until one of its jobs changes, with their ids. For all who may read the study, whoever asks first."""
    with services.all_readers() as session:
        evidence = read_evidence(session, study)
    ids = [row.job_id for arm in evidence.arms.values() for row in arm.rows.values()]
    return {"verdict": compare(evidence).verdict}, ids


def read_results(services: Services, study: Study) -> tuple[dict[str, Any], Sequence[int]]:
    """What is shown of a study, to all who may read it, until one of its jobs changes; with their ids."""
    settings = services.settings
    fetch_arrays(services.all_readers, study.id, settings.storage)
    # Statistics are computed between the statements, of which each is a transaction of its own: none is open for long.
    with services.all_readers() as session:
        report = read_report(session, study, settings.storage.root, None, with_figures=False)
        ids, document = list_job_ids(session, study.id), write_document(session, study)
    page, figure, comparison = make_page(report), make_own_figure(report), report.comparison
    results = render_part(
        "study_results.html",
        page=page,
        study_id=study.id,
        baseline=comparison.baseline,
        metric=comparison.metric,
        forest=make_forest(
            comparison.metric, [(one.name, one.difference) for one in comparison.variants]
        ),
        figure=figure,
        grid=_make_grid(report.jobs),
        trials=len(ids) - len(report.jobs),
        trials_url=_list_trials(study),
        is_search=study.spec.get("search") is not None,
        is_pretrained=study.spec.get("pretrain") is not None,
        document=document,
    )
    return {"page": page, "results": results, "figure": figure, "job_ids": ids}, ids


def _list_trials(study: Study) -> str | None:
    """Where the jobs are listed that try settings, the best first: they have seeds of their own; or that pretrain."""
    spec = read_study(study.spec)
    trying = spec.search or spec.tune
    metric = validation_metric(spec.metric)
    if trying is not None:
        which = f"seed in ({', '.join(map(str, trying.seeds))})"
    elif spec.pretrain is not None:
        which = f"variant={PRETRAINING}"
    else:
        return None
    return Asked(
        query=f"study=s{study.id} and {which}",
        columns=f"trial,{metric},seconds,finished",
        sort=f"-{metric}" if higher_is_better(metric) else metric,
        trials="true",
    ).link()


def _make_grid(jobs: Sequence[JobReport]) -> Mapping[str, object]:
    """Variants (at each point) × seeds."""
    seeds = sorted({job.seed for job in jobs})
    rows: dict[str, dict[int, JobReport]] = {}
    for job in jobs:
        rows.setdefault(job.arm, {})[job.seed] = job
    return {"seeds": seeds, "rows": rows}
