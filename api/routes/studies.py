"""Studies: submit, list, read, annotate, compare, extend."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from sqlalchemy.orm import Session

from api.admission import plan_extension, plan_study
from api.bills import with_expected_seconds
from api.http import (
    TABLES,
    Archived,
    AuditTrail,
    BadParameter,
    Document,
    Filter,
    Fresh,
    Id,
    NotFound,
    Once,
    Overridden,
    Page,
    StudiesWith,
    TableFormat,
    Writer,
    Written,
    describe_body,
    ensure_own,
    get_current_user,
    parse,
    respond_with_table,
    take_place,
)
from api.routes.jobs import build_job_views
from api.routes.study_views import build_study_views
from api.schemas import (
    AcceptedStudy,
    AnnotationChange,
    Declaration,
    Extension,
    JobStatus,
    JobView,
    Listing,
    StudyView,
)
from api.services import Services, ServicesDep
from runtime.tracing import current_context
from store.catalog import annotations
from store.db import Study, User
from store.jobs import commands
from store.results import ResultRow
from store.studies import studies
from studies.comparison import Comparison, read_evidence
from studies.comparison import compare as compare_arms
from studies.planning import growth_notes, repeat_notes
from studies.spec import StudySpec, read_study
from trainer.spec import KEY_PATTERN

router = APIRouter(prefix="/studies", tags=["studies"], dependencies=[Depends(get_current_user)])


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=AcceptedStudy,
    openapi_extra=describe_body(StudySpec),
    summary="Submit a study",
    dependencies=[Depends(take_place)],
)
def submit_study(
    services: ServicesDep,
    user: Writer,
    document: Overridden,
    written: Written,
    once: Once,
    fresh: Fresh = False,
) -> Response:
    """The study is committed before the response is sent: each of its jobs reaches exactly one final status,
    whatever crashes."""
    if earlier := once.earlier_answer():
        return earlier
    study, plan = plan_study(services, user, document)
    spec = study.model_dump(mode="json")
    with services.sessions.begin() as session:

        def create() -> AcceptedStudy:
            # Before the study is created, or it would find itself.
            same = studies.same_as(session, spec, study.project)
            made = studies.create(
                session,
                user,
                spec,
                study.project,
                study.name,
                with_expected_seconds(session, plan, plan.cells(fresh=fresh)),
                plan.warnings,
                planned_seeds=sorted(study.seed_list),
                document=written,
                trace_context=current_context.get(),
            )
            return _build_accepted(services, session, made, same)

        answer = once.answer(session, create)
    services.waker.wake()
    return answer


@router.get("", summary="List studies, newest first")
def list_studies(
    services: ServicesDep,
    page: Page,
    with_job: StudiesWith,
    project: Filter = None,
    owner: Filter = None,
    tag: Filter = None,
    archived: Archived = False,
) -> Listing[StudyView]:
    with services.sessions.begin() as session:
        listing = studies.list_studies(
            session,
            owner=owner,
            project=project,
            tag=tag,
            archived=archived,
            with_job=with_job,
            cursor=page.cursor,
            limit=page.limit,
        )
        return Listing(
            items=build_study_views(services, session, listing.items),
            next_cursor=listing.next_cursor,
        )


@router.get("/{study_id}", summary="Read a study")
def read_one(services: ServicesDep, study_id: Id) -> StudyView:
    with services.sessions.begin() as session:
        return build_study_views(services, session, [find_study(session, study_id)])[0]


@router.patch(
    "/{study_id}",
    openapi_extra=describe_body(AnnotationChange),
    summary="Tag, note or archive a study",
)
def annotate_study(
    services: ServicesDep, user: Writer, trail: AuditTrail, study_id: Id, document: Document
) -> StudyView:
    """An archived study and its jobs are left out of lists; nothing is deleted."""
    change = parse(AnnotationChange, document)
    with services.sessions.begin() as session:
        find_own_study(session, user, study_id)
        annotations.annotate_study(session, study_id, annotations.Annotation(**dict(change)))
        changed = change.model_dump(exclude_unset=True)
        trail.note(session, "study.annotated", f"s{study_id}", **changed)
        session.flush()
        return build_study_views(services, session, [find_study(session, study_id)])[0]


@router.get("/{study_id}/jobs", summary="List a study's jobs, newest first")
def list_study_jobs(
    services: ServicesDep,
    study_id: Id,
    page: Page,
    status: JobStatus | None = None,
    variant: Filter = None,
) -> Listing[JobView]:
    with services.sessions.begin() as session:
        find_study(session, study_id)
        listing = commands.list_jobs(
            session,
            study_id=study_id,
            status=status,
            variant=variant,
            cursor=page.cursor,
            limit=page.limit,
        )
        return Listing(
            items=build_job_views(services, session, listing.items), next_cursor=listing.next_cursor
        )


@router.get(
    "/{study_id}/comparison",
    summary="Compare the variants: which is better, and by how much",
    response_model=Comparison,
    responses=TABLES,
    dependencies=[Depends(take_place)],
)
def compare(
    services: ServicesDep,
    study_id: Id,
    metric: Annotated[
        str | None,
        Query(pattern=KEY_PATTERN, description="default: the study's metric"),
    ] = None,
    format: Annotated[
        TableFormat | None,
        Query(description="only the table, in this format; default: the whole comparison as json"),
    ] = None,
) -> Comparison | Response:
    """Means with 95 % t-intervals, paired differences to the baseline with p-values, and the verdict in a
    sentence; failed and diverged jobs are counted."""
    with services.sessions.begin() as session:
        study = find_study(session, study_id)
        evidence = read_evidence(session, study, metric)
    if metric is not None:
        _ensure_recorded(metric, evidence.rows)
    # After the transaction: tests and bootstrap intervals take a while and need nothing of the database.
    comparison = compare_arms(evidence)
    return comparison if format is None else respond_with_table(comparison, study.name, format)


def _ensure_recorded(metric: str, rows: Sequence[ResultRow]) -> None:
    """Some job has it, or none has any metric yet; raises `BadParameter`."""
    metrics = sorted(set().union(*(row.metrics for row in rows)))
    if metrics and metric not in metrics:
        detail = f"no job of this study has the metric {metric!r}; available: {', '.join(metrics)}"
        raise BadParameter("metric", detail)


@router.post(
    "/{study_id}/extend",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=AcceptedStudy,
    openapi_extra=describe_body(Extension),
    summary="Add seeds to a study",
    dependencies=[Depends(take_place)],
)
def extend_study(
    services: ServicesDep,
    user: Writer,
    study_id: Id,
    document: Document,
    once: Once,
    fresh: Fresh = False,
) -> Response:
    """Only the cells that the study lacks are created."""
    if earlier := once.earlier_answer():
        return earlier
    extension = parse(Extension, document)
    with services.sessions.begin() as session:
        row = find_own_study(session, user, study_id)
    # Outside of a transaction, because the check takes long. Whether the study is still the same is asked
    # under its lock (`studies.add_jobs`), and answered with a conflict if not.
    study, plan = plan_extension(services, user, row, extension)
    spec = study.model_dump(mode="json")
    with services.sessions.begin() as session:

        def extend() -> AcceptedStudy:
            cells = with_expected_seconds(session, plan, plan.cells(fresh=fresh))
            studies.add_jobs(session, row, cells, user.name, spec)
            return _build_accepted(services, session, find_study(session, study_id))

        answer = once.answer(session, extend)
    services.waker.wake()
    return answer


@router.post(
    "/{study_id}/declarations",
    openapi_extra=describe_body(Declaration),
    summary="Acknowledge a difference between variants",
)
def declare(
    services: ServicesDep, user: Writer, trail: AuditTrail, study_id: Id, document: Document
) -> StudyView:
    """The difference no longer withholds the ranking; comparison and report name who acknowledged it, and why."""
    declaration = parse(Declaration, document)
    with services.sessions.begin() as session:
        find_own_study(session, user, study_id)
        studies.declare(session, study_id, declaration.kind, declaration.why, user.name)
        trail.note(session, "study.declared", f"s{study_id}", **dict(declaration))
        return build_study_views(services, session, [find_study(session, study_id)])[0]


def find_study(session: Session, study_id: int) -> Study:
    study = studies.find(session, study_id)
    if study is None:
        raise NotFound(f"there is no study {study_id}")
    return study


def find_own_study(session: Session, user: User, study_id: int) -> Study:
    study = find_study(session, study_id)
    ensure_own(user, study.owner, f"study {study_id}", study.project_id)
    return study


def _build_accepted(
    services: Services, session: Session, study: Study, same: Sequence[Study] = ()
) -> AcceptedStudy:
    """`same`: the studies that train the same already."""
    [view, *earlier] = build_study_views(services, session, [study, *same])
    notes = [
        *growth_notes(read_study(study.spec), study.planned_seeds),
        *repeat_notes(
            [
                (one.id, one.status, one.counts["failed"] + one.counts["cancelled"])
                for one in earlier
            ]
        ),
    ]
    return AcceptedStudy(**dict(view), same_as=[one.id for one in same], notes=notes)
