"""One job: how it goes or went, its curves and log, its spec, and all that is on record of it."""

from typing import Any

import yaml
from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import Id, Reader, may_change
from api.routes.jobs import build_job_views, find_job
from api.services import Services, ServicesDep
from api.web.render import PageRoute, render
from store.db import Job
from store.jobs import obstacles
from store.results import overview, result_rows
from store.studies import studies

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: Lines at the end of the log.
MOST_LINES = 200


@router.get("/jobs/{job_id}")
def show_job(request: Request, services: ServicesDep, user: Reader, job_id: Id) -> Response:
    with services.sessions.begin() as session:
        job = find_job(session, job_id)
        context = _read_job(services, session, job)
    view = context["job"]
    return render(
        request,
        "job.html",
        user,
        title=view.name,
        may_change=may_change(user, view.owner),
        **context,
    )


def _read_job(services: Services, session: Session, job: Job) -> dict[str, Any]:
    [view] = build_job_views(services, session, [job])
    study = studies.find(session, job.study_id) if job.study_id is not None else None
    return {
        "job": view,
        "study": study,
        "obstacle": obstacles.find_obstacle(session, job),
        "progress": overview.progress(session).get(job.id),
        "attempts": result_rows.attempts(session, job.id),
        "transitions": result_rows.transitions(session, job.id),
        "checkpoints": result_rows.checkpoints(session, job.id),
        "files": result_rows.files(session, job.id),
        "lines": result_rows.last_logs(session, job.id, MOST_LINES),
        "spec": yaml.safe_dump(
            view.spec, sort_keys=False, allow_unicode=True, default_flow_style=None
        ),
    }
