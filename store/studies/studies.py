"""Studies: creation, extension, and what is read of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, cast, exists, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.orm import Session, joinedload

from store.access import members
from store.catalog import datasets, projects
from store.db import (
    JOBS_CHANNEL,
    Dataset,
    DatasetUnavailable,
    Job,
    Mirrored,
    MixedDevices,
    NotFound,
    Overtaken,
    Page,
    Project,
    Result,
    Study,
    User,
    database_now,
    newest_first,
    notify,
    sanitize_text,
)
from store.jobs import NewJob, creation


def create(
    session: Session,
    owner: User,
    spec: dict[str, Any],
    project: str,
    name: str,
    cells: Sequence[NewJob],
    warnings: Sequence[str] = (),
    preset: dict[str, Any] | None = None,
    planned_seeds: Sequence[int] | None = None,
    document: str | None = None,
    trace_context: str | None = None,
) -> Study:
    """Accept a study with a job for each cell; `preset`: which one it came from; `planned_seeds`: those
    that answers rest on, if not those of the cells; `document`: the text that it was submitted as;
    `trace_context`: of the request.

    Raises DatasetUnavailable, ProjectRefused, and MixedDevices when one cell asks for cpu and another for cuda.
    """
    owner = session.get_one(User, owner.id)
    on = _lock_datasets(session, cells)
    named = projects.get_or_create(session, project, owner)
    members.ensure_may_submit(session, named, [owner])
    study = Study(
        project=named,
        owner=owner,
        name=name,
        spec=spec,
        document=document,
        planned_seeds=sorted({cell.spec.seed for cell in cells})
        if planned_seeds is None
        else list(planned_seeds),
        warnings=[sanitize_text(warning) for warning in warnings],
        preset=preset,
        trace_context=trace_context,
    )
    session.add(study)
    session.flush()
    creation.insert_jobs(session, study, on, cells, device=_device(cells), who=owner.name)
    return study


def add_jobs(
    session: Session,
    study: Study,
    cells: Sequence[NewJob],
    who: str,
    spec: dict[str, Any] | None = None,
) -> list[Job]:
    """Make the jobs of those cells that the study lacks, for the study's owner; returns the new ones.

    `spec` replaces the study's. Raises like `create`, and Overtaken when the study as given is no
    longer what it is: `spec` and the cells come of the old one.
    """
    spec_before = study.spec
    study = lock(session, study.id)
    if spec is not None:
        # The cells were expanded and checked without a lock, which may take half a minute. If the spec has
        # changed since, they belong to a study that no longer is.
        if study.spec != spec_before:
            raise Overtaken
        study.spec = spec
    present = session.execute(
        select(Job.variant, Job.point, Job.seed, Job.device).where(Job.study_id == study.id)
    ).all()
    there = {_identify(row.variant, row.point, row.seed) for row in present}
    new = [one for one in cells if _identify(one.variant, one.point, one.spec.seed) not in there]
    device = _device(new, *{row.device for row in present})
    on = _lock_datasets(session, new)
    # Listeners know the study by the jobs that it had: the notice of a new job's id would tell them nothing.
    notify(session, JOBS_CHANNEL, "")
    # What a study trains once its trials have chosen was part of the study when it was accepted.
    return creation.add_jobs(
        session, study, on, new, device=device, who=who, are_limited=spec is not None
    )


def declare(session: Session, study_id: int, kind: str, why: str, who: str) -> None:
    """Records that a difference between the study's variants is acknowledged; a later reason replaces an earlier one."""
    study = lock(session, study_id)
    at = database_now(session).isoformat()
    study.declared = {**study.declared, kind: {"why": sanitize_text(why), "who": who, "at": at}}
    study.judged_at = None
    # The jobs haven't changed, but what MLflow shows of the study has.
    session.execute(
        update(Mirrored).where(Mirrored.study_id == study_id).values(seen_at=None, closed_at=None)
    )
    notify(session, JOBS_CHANNEL, "")


def lock(session: Session, study_id: int) -> Study:
    """The study as it is now, ours until the transaction ends; raises NotFound."""
    # Jobs of the study that change meanwhile refer to it: hence key_share.
    statement = _loaded().where(Study.id == study_id).with_for_update(of=Study, key_share=True)
    study = session.scalars(statement.execution_options(populate_existing=True)).one_or_none()
    if study is None:
        raise NotFound(f"there is no study {study_id}")
    return study


def find(session: Session, study_id: int) -> Study | None:
    """The study with its owner and project."""
    return session.scalars(_loaded().where(Study.id == study_id)).one_or_none()


def find_cell(
    session: Session, study_id: int, variant: str, point: Mapping[str, Any], seed: int
) -> Job | None:
    """The study's job of this variant at this point and seed."""
    cell = select(Job).where(
        Job.study_id == study_id, Job.variant == variant, Job.point == point, Job.seed == seed
    )
    return session.scalars(cell).one_or_none()


def list_studies(
    session: Session,
    *,
    owner: str | None = None,
    project: str | None = None,
    tag: str | None = None,
    preset: str | None = None,
    archived: bool = True,
    with_job: ColumnElement[bool] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Study]:
    """Newest first; `owner`, `project` and `preset` are names; `archived`: those, too; `with_job`: a condition from
    `store.query` that a job of the study must meet, trials of its tuning aside. Raises BadCursor."""
    statement = (
        _loaded()
        .join(User, User.id == Study.owner_id)
        .join(Project, Project.id == Study.project_id)
    )
    if owner is not None:
        statement = statement.where(User.name == owner)
    if project is not None:
        statement = statement.where(Project.name == project)
    if tag is not None:
        statement = statement.where(Study.tags.contains([tag]))
    if preset is not None:
        statement = statement.where(Study.preset["name"].astext == preset)
    if not archived:
        statement = statement.where(Study.archived_at.is_(None))
    if with_job is not None:
        statement = statement.where(_has_job(with_job))
    return newest_first(session, statement, Study.id, cursor, limit)


def _has_job(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    # The job's own owner and project, whose tables stand in both queries, and the study of the outer one.
    matching = (
        select(Result.job_id)
        .select_from(Result)
        .outerjoin(Job, Job.id == Result.job_id)
        .outerjoin(User, User.id == Result.owner_id)
        .outerjoin(Project, Project.id == Result.project_id)
        .where(Result.study_id == Study.id, ~Result.is_trial, condition)
    )
    return exists(matching.correlate(Study))


def same_as(session: Session, spec: Mapping[str, Any], project: str) -> Sequence[Study]:
    """The project's studies that train the same, newest first: they differ in name or seeds at most."""
    ignored = array(_NOT_COMPARED)
    compared = Study.spec.op("-", return_type=JSONB())(ignored)
    expected = {key: value for key, value in spec.items() if key not in _NOT_COMPARED}
    statement = (
        _loaded()
        .join(Project, Project.id == Study.project_id)
        .where(
            Project.name == project, Study.archived_at.is_(None), compared == cast(expected, JSONB)
        )
        .order_by(Study.id.desc())
        .limit(20)
    )
    return session.scalars(statement).all()


def may_reuse(session: Session, study_id: int) -> bool:
    """Whether all of its jobs may be answered by equal ones, as its submitter decided."""
    jobs = select(func.bool_and(Job.may_reuse)).where(Job.study_id == study_id)
    return bool(session.scalar(jobs))


def is_growing(session: Session, study_id: int) -> bool:
    """Whether it goes on by itself until it is decided."""
    grows = select(Study.spec["until"].astext == "decided").where(Study.id == study_id)
    return bool(session.scalar(grows))


def have_all_succeeded(session: Session, study_id: int) -> bool:
    """Its jobs, trials aside."""
    others = select(Job.id).where(
        Job.study_id == study_id, Job.trial.is_(None), Job.status != "succeeded"
    )
    return not session.scalar(select(others.exists()))


def read_document(session: Session, study_id: int) -> str | None:
    """The text that it was submitted as; None where it was no text, or was changed on its way."""
    return session.scalar(select(Study.document).where(Study.id == study_id))


def variants_of(session: Session, study_id: int) -> Sequence[str]:
    """In the order in which the study was written, which its spec no longer has."""
    statement = (
        select(Job.variant)
        .where(Job.study_id == study_id, Job.variant.is_not(None))
        .group_by(Job.variant)
        .order_by(func.min(Job.id))
    )
    return [variant for variant in session.scalars(statement) if variant is not None]


#: Of two studies' specs, what may differ without another training being meant.
_NOT_COMPARED = ("name", "seeds", "looks", "until", "declared")


def jobs_of(session: Session, study_id: int) -> Sequence[Job]:
    """All jobs of the study with owner and project, in the order in which they were made."""
    statement = (
        select(Job)
        .options(joinedload(Job.owner), joinedload(Job.project))
        .where(Job.study_id == study_id)
        .order_by(Job.id)
    )
    return session.scalars(statement).all()


def _lock_datasets(session: Session, cells: Sequence[NewJob]) -> dict[str, Dataset]:
    """Those of the cells, by name, locked until the commit; raises DatasetUnavailable."""
    names = {cell.spec.dataset.name for cell in cells}
    rows = session.scalars(select(Dataset).where(Dataset.name.in_(names)).order_by(Dataset.id))
    on = datasets.lock_all_usable(session, rows)
    if missing := names - on.keys():
        raise DatasetUnavailable(f"not registered: {', '.join(sorted(missing))}")
    return on


def _identify(variant: str | None, point: Mapping[str, Any], seed: int) -> tuple[Any, ...]:
    """Of a cell within its study; equal where variant, point and seed are."""
    return variant, _freeze(point), seed


def _freeze(value: Any) -> Any:
    """A value of a document that can be looked up in a set."""
    match value:
        case Mapping():
            return frozenset((key, _freeze(inside)) for key, inside in value.items())
        case list() | tuple():
            return tuple(map(_freeze, value))
        case _:
            return value


def _device(cells: Sequence[NewJob], *present: str) -> str | None:
    """The one kind of device that some cells ask for, and so all of the study get; None: any."""
    asked = {*present, *(cell.spec.resources.device for cell in cells)} - {"auto"}
    if len(asked) > 1:
        raise MixedDevices
    return next(iter(asked), None)


def _loaded() -> Select[Study]:
    return select(Study).options(joinedload(Study.owner), joinedload(Study.project))
