"""Deletes what has ended, for good: its rows at once, and a mark of what is to be removed from the storage and MLflow.

What belongs to a row goes with it by the database's foreign keys. Neither the API nor anybody else but the tables'
owner can delete a job, study, dataset or project that isn't marked.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import String, delete, exists, func, insert, literal, select, text, true, union
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from store.access import everything
from store.catalog import initial_weights
from store.db import (
    FINAL_STATUSES,
    JOBS_CHANNEL,
    Dataset,
    Deletion,
    InUse,
    Job,
    Mirrored,
    NotFound,
    Project,
    Study,
    User,
    WrongStatus,
    notify,
)
from store.jobs import usage

#: Jobs without a study that are deleted by one transaction, when their project is.
JOBS_AT_ONCE = 500

_GOES_ON = Job.status.not_in(FINAL_STATUSES)


def was_deleted(session: Session, kind: str, subject_id: int, owner_id: int | None = None) -> bool:
    """`owner_id`: it was this person's; None: or anybody's."""
    return _is_marked(session, kind, Deletion.subject_id == subject_id, owner_id)


def was_name_deleted(session: Session, kind: str, name: str, owner_id: int | None = None) -> bool:
    """Of a dataset or a project; as `was_deleted`. The name may have been given again since."""
    return _is_marked(session, kind, Deletion.name == name, owner_id)


def _is_marked(session: Session, kind: str, which: Any, owner_id: int | None) -> bool:
    whose = true() if owner_id is None else Deletion.owner_id == owner_id
    return bool(session.scalar(select(exists().where(Deletion.kind == kind, which, whose))))


def delete_job(session: Session, job_id: int) -> None:
    """A job of no study that has ended. Raises NotFound, WrongStatus, InUse."""
    locked = _lock_jobs(session, Job.id == job_id)
    if not locked:
        raise NotFound(f"job {job_id} has just been deleted")
    [job] = locked
    if job.kind == "dataset":
        raise InUse(f"job {job_id} registers a dataset, and is deleted with it")
    if job.study_id is not None:
        # Else whoever doesn't like the result of a seed could delete it, and the comparison would not tell.
        raise InUse(
            f"job {job_id} belongs to study {job.study_id}, whose comparison would change: delete the whole study"
        )
    _ensure_ended([job], f"job {job_id}")
    _delete_jobs(session, [job_id])


def delete_study(session: Session, study_id: int) -> int:
    """With its jobs, all of which have ended; how many these were. Raises NotFound, WrongStatus, InUse."""
    # Asked first without a lock: a job that goes on may hold what its end would wait for.
    unfinished = select(Job.id).where(Job.study_id == study_id, _GOES_ON)
    _raise_unfinished(session.scalars(unfinished).all(), f"study {study_id}")
    # Locked before its jobs, so that none is added meanwhile.
    locked = select(Study).where(Study.id == study_id).with_for_update()
    study = session.scalars(locked, execution_options={"populate_existing": True}).one_or_none()
    if study is None:
        raise NotFound(f"study {study_id} has just been deleted")
    jobs = _lock_jobs(session, Job.study_id == study_id)
    _ensure_ended(jobs, f"study {study_id}")
    _delete_jobs(session, [job.id for job in jobs])
    mirrored = select(_run()).where(Mirrored.study_id == study_id).scalar_subquery()
    _mark(session, "study", study_id, owner_id=study.owner_id, mirrored=mirrored)
    session.execute(delete(Study).where(Study.id == study_id))
    return len(jobs)


def delete_dataset(session: Session, dataset: Dataset) -> None:
    """A registered one that no training uses, with the jobs that decoded it. Raises NotFound, InUse, WrongStatus."""
    if dataset.owner_id is None:
        raise InUse(f"{dataset.name} is built in")
    # First, so that nothing is submitted on it meanwhile.
    name, locked = dataset.name, select(Dataset).where(Dataset.id == dataset.id).with_for_update()
    found = session.scalars(locked, execution_options={"populate_existing": True}).one_or_none()
    if found is None:
        raise NotFound(f"dataset {name} has just been deleted")
    dataset = found
    of_dataset = Job.dataset_id == dataset.id
    shown = session.scalars(select(Job.id).where(of_dataset, Job.kind == "training")).all()
    # Also what the deleter may not read needs it.
    with everything(session):
        jobs = _lock_jobs(session, of_dataset)
    if trained := [job.id for job in jobs if job.kind == "training"]:
        if not shown:
            raise InUse(f"jobs of a private project used {dataset.name}: ask an admin")
        trained.sort(key=lambda number: number not in shown)
        more = f" and {len(trained) - 1} more" if len(trained) > 1 else ""
        raise InUse(
            f"job {trained[0]}{more} used {dataset.name}: delete what was trained on it first"
        )
    _ensure_ended(jobs, f"dataset {dataset.name}")
    _delete_jobs(session, [job.id for job in jobs])
    digest = dataset.info["digest"] if dataset.info else None
    _mark(session, "dataset", dataset.id, name=name, owner_id=dataset.owner_id, digest=digest)
    session.execute(delete(Dataset).where(Dataset.id == dataset.id))


def owners_in(session: Session, project: Project) -> set[str]:
    """Whose jobs and studies it has."""
    of_jobs = select(User.name).join(Job, Job.owner_id == User.id)
    of_studies = select(User.name).join(Study, Study.owner_id == User.id)
    both = union(
        of_jobs.where(Job.project_id == project.id),
        of_studies.where(Study.project_id == project.id),
    )
    return {*session.scalars(both)}


def ensure_ended(session: Session, project: Project) -> None:
    """Raises WrongStatus while any of its jobs goes on."""
    unfinished = select(Job.id).where(Job.project_id == project.id, _GOES_ON)
    _raise_unfinished(session.scalars(unfinished).all(), f"project {project.name}")


def studies_of(session: Session, project: Project, owner_id: int | None = None) -> Sequence[int]:
    """`owner_id`: only that person's; None: everybody's."""
    whose = true() if owner_id is None else Study.owner_id == owner_id
    query = select(Study.id).where(Study.project_id == project.id, whose)
    return session.scalars(query.order_by(Study.id)).all()


def delete_some_jobs(session: Session, project: Project, owner_id: int | None = None) -> int:
    """Of those of no study, at most `JOBS_AT_ONCE`; how many that were. `owner_id`: as of `studies_of`. Raises
    WrongStatus."""
    whose = true() if owner_id is None else Job.owner_id == owner_id
    some = (
        select(Job.id)
        .where(Job.project_id == project.id, Job.study_id.is_(None), whose)
        .order_by(Job.id)
        .limit(JOBS_AT_ONCE)
    )
    jobs = _lock_jobs(session, Job.id.in_(session.scalars(some).all()))
    _ensure_ended(jobs, f"project {project.name}")
    _delete_jobs(session, [job.id for job in jobs])
    return len(jobs)


def delete_project(session: Session, project: Project) -> None:
    """Once it is empty. Raises NotFound, and InUse where something was submitted to it meanwhile."""
    locked = select(Project.visibility).where(Project.id == project.id).with_for_update()
    if (visibility := session.scalar(locked)) is None:
        raise NotFound(f"project {project.name} has just been deleted")
    mirrored = None
    if project.experiment_id:
        # Who may not read it must not find it in MLflow until it is erased there.
        mirrored = {
            "experiment_id": project.experiment_id,
            "project": project.name,
            "visibility": visibility,
        }
    _mark(
        session,
        "project",
        project.id,
        name=project.name,
        owner_id=project.owner_id,
        mirrored=mirrored,
    )
    try:
        session.execute(delete(Project).where(Project.id == project.id))
    except IntegrityError as error:
        raise InUse(
            f"something was submitted to project {project.name} while it was deleted: it is still there"
        ) from error


def _lock_jobs(session: Session, condition: Any) -> Sequence[Job]:
    """In the order of ids, like everything that locks several jobs."""
    query = select(Job).where(condition).order_by(Job.id).with_for_update()
    return session.scalars(query, execution_options={"populate_existing": True}).all()


def _ensure_ended(jobs: Sequence[Job], what: str) -> None:
    _raise_unfinished([job.id for job in jobs if job.status not in FINAL_STATUSES], what)


def _raise_unfinished(job_ids: Sequence[int], what: str) -> None:
    if job_ids:
        count = len(job_ids)
        if what == f"job {job_ids[0]}":
            raise WrongStatus(f"{what} has not ended: cancel it first")
        have = "1 job that has" if count == 1 else f"{count} jobs that have"
        raise WrongStatus(
            f"{what} has {have} not ended: cancel {'it' if count == 1 else 'them'} first"
        )


def _delete_jobs(session: Session, job_ids: Sequence[int]) -> None:
    if not job_ids:
        return
    initial_weights.ensure_not_awaited(session, job_ids)
    used = usage.of_jobs(job_ids)
    marks = (
        select(
            literal("job", String),
            Job.id,
            Job.owner_id,
            Job.reused_from,
            _run(),
            func.statement_timestamp(),
            func.coalesce(used.c.seconds, 0.0),
            func.coalesce(used.c.day_seconds, 0.0),
        )
        .outerjoin(Mirrored, Mirrored.job_id == Job.id)
        .outerjoin(used, used.c.job_id == Job.id)
        .where(Job.id.in_(job_ids))
    )
    names = [
        "kind",
        "subject_id",
        "owner_id",
        "source_id",
        "mirrored",
        "at",
        "seconds",
        "day_seconds",
    ]
    session.execute(insert(Deletion).from_select(names, marks))
    # A large study has millions of rows of epochs and diagnostics: longer than a request's statements may take.
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(
        delete(Job).where(Job.id.in_(job_ids)), execution_options={"synchronize_session": False}
    )
    session.expire_all()
    # Listeners know no job of this id any more: all that they keep may have had it.
    notify(session, JOBS_CHANNEL, "")


def _run() -> Any:
    """The run of a row of `mirrored`, or under which key it is being made; NULL of what has none."""
    return (
        func.jsonb_strip_nulls(
            func.jsonb_build_object(
                "run_id", func.nullif(Mirrored.run_id, ""),
                "experiment_id", Mirrored.experiment_id,
                "key", Mirrored.state["key"],
            )
        )
    )  # fmt: skip


def _mark(session: Session, kind: str, subject_id: int, **values: Any) -> None:
    session.execute(insert(Deletion).values(kind=kind, subject_id=subject_id, **values))
    notify(session, JOBS_CHANNEL, "")
