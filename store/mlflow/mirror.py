"""What is missing in MLflow, and how far each run has been written.

A row of `mirrored` is made, with a key, before its run: `run_id` is empty until the run is known to
exist. So a crash in between leaves a row that says under which key to look for the run.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import uuid4

from sqlalchemy import BigInteger, ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.db import (
    FINAL_STATUSES,
    Dataset,
    Diagnosis,
    Epoch,
    Job,
    Mirrored,
    MirrorProblem,
    Project,
    Study,
    User,
    Verdict,
)
from store.mlflow import mirror_problems
from store.mlflow.mirror_problems import is_held_back
from store.studies import verdicts

OfJob = TypeVar("OfJob", Epoch, Diagnosis)

#: PostgreSQL's advisory lock of the one mirror.
LOCK = 0x6E6F726D_6D6C


@dataclass(frozen=True, slots=True)
class JobToMirror:
    """A job with its epochs and diagnostics that are missing in MLflow."""

    job: Job
    owner: str
    project: str
    study: Study | None
    dataset: Dataset
    mirrored: Mirrored | None
    epochs: Sequence[Epoch]
    diagnoses: Sequence[Diagnosis] = ()

    @property
    def final(self) -> bool:
        return self.job.status in FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class StudyToMirror:
    """A study with all its jobs and stored verdicts; `changed_at` is the latest of its jobs'."""

    study: Study
    owner: str
    project: str
    mirrored: Mirrored | None
    jobs: Sequence[Job]
    verdicts: Sequence[Verdict] = ()

    @property
    def changed_at(self) -> datetime:
        return max(job.changed_at for job in self.jobs)

    @property
    def final(self) -> bool:
        return all(job.status in FINAL_STATUSES for job in self.jobs)

    @property
    def finished_at(self) -> datetime | None:
        """When its last job ended; None while one goes on."""
        ends = [job.finished_at for job in self.jobs if job.finished_at is not None]
        return max(ends) if len(ends) == len(self.jobs) else None


def try_lock(session: Session) -> bool:
    """Whether this connection is now the one mirror's; held until it closes."""
    return bool(session.scalar(select(func.pg_try_advisory_lock(LOCK))))


def due_jobs(session: Session, limit: int) -> list[int]:
    """Jobs that changed since MLflow saw them, oldest change first.

    Compared for inequality: transactions don't commit in the order of their times.
    """
    changed = or_(Mirrored.id.is_(None), Mirrored.seen_at.is_distinct_from(Job.changed_at))
    held_back = is_held_back("run", (MirrorProblem.job_id, Job.id))
    query = (
        select(Job.id)
        .outerjoin(Mirrored, Mirrored.job_id == Job.id)
        .where(Job.kind == "training", changed, ~held_back)
        .order_by(Job.changed_at, Job.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def read_jobs(session: Session, job_ids: Collection[int]) -> list[JobToMirror]:
    """These jobs and their new epochs. The jobs are read first: what follows may only be newer."""
    query = (
        select(Job, User.name, Project.name, Study, Dataset, Mirrored)
        .join(User, User.id == Job.owner_id)
        .join(Project, Project.id == Job.project_id)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .outerjoin(Study, Study.id == Job.study_id)
        .outerjoin(Mirrored, Mirrored.job_id == Job.id)
        .where(Job.id.in_(job_ids))
        .order_by(Job.changed_at, Job.id)
    )
    rows = session.execute(query).all()
    epochs, diagnoses = _new_epochs(session, job_ids), _new_diagnoses(session, job_ids)
    return [
        JobToMirror(
            job,
            owner,
            project,
            study,
            dataset,
            mirrored,
            epochs.get(job.id, []),
            diagnoses.get(job.id, []),
        )
        for job, owner, project, study, dataset, mirrored in rows
    ]


def due_studies(session: Session) -> list[int]:
    """Studies with a job that changed since MLflow saw the study."""
    held_back = is_held_back("run", (MirrorProblem.study_id, Study.id))
    query = (
        select(Study.id)
        .join(Job, Job.study_id == Study.id)
        .outerjoin(Mirrored, Mirrored.study_id == Study.id)
        .where(~held_back)
        .group_by(Study.id, Mirrored.id)
        .having(Mirrored.seen_at.is_distinct_from(func.max(Job.changed_at)))
        .order_by(Study.id)
    )
    return list(session.scalars(query))


def read_study(session: Session, study_id: int) -> StudyToMirror:
    query = (
        select(Study, User.name, Project.name, Mirrored)
        .join(User, User.id == Study.owner_id)
        .join(Project, Project.id == Study.project_id)
        .outerjoin(Mirrored, Mirrored.study_id == Study.id)
        .where(Study.id == study_id)
    )
    study, owner, project, mirrored = session.execute(query).one()
    jobs = session.scalars(select(Job).where(Job.study_id == study_id).order_by(Job.id)).all()
    rows = verdicts.of_studies(session, [study_id])[study_id]
    return StudyToMirror(study, owner, project, mirrored, jobs, rows)


def runs_of_studies(session: Session, study_ids: Collection[int]) -> dict[int, str]:
    """The parent runs of those of these studies that have one."""
    query = select(Mirrored.study_id, Mirrored.run_id)
    rows = session.execute(query.where(Mirrored.study_id.in_(study_ids), Mirrored.run_id != ""))
    return {study_id: run_id for study_id, run_id in rows if study_id is not None}


def parent_of(session: Session, mirrored: Mirrored) -> Mirrored | None:
    """The row of the study that this job's row belongs to, if it has a run."""
    query = select(Mirrored).join(Job, Job.study_id == Mirrored.study_id)
    return session.scalar(query.where(Job.id == mirrored.job_id, Mirrored.run_id != ""))


def read_epochs(session: Session, job_ids: Collection[int]) -> dict[int, list[Epoch]]:
    """All epochs of these jobs, in order."""
    return _epochs(session, Epoch.job_id.in_(job_ids))


def open_run(
    session: Session, experiment_id: str, *, job_id: int | None = None, study_id: int | None = None
) -> Mirrored:
    """A row for a run that is about to be made, or the row that is there; not yet committed."""
    session.execute(
        insert(Mirrored)
        .values(
            job_id=job_id,
            study_id=study_id,
            run_id="",
            experiment_id=experiment_id,
            state={"key": uuid4().hex},
        )
        # The row may be there already: from a try that was cut off after its commit, whose key finds the run,
        # or from another transaction that was faster.
        .on_conflict_do_nothing()
    )
    owner = Mirrored.job_id == job_id if job_id is not None else Mirrored.study_id == study_id
    return session.scalars(select(Mirrored).where(owner)).one()


def save(session: Session, mirrored: Mirrored) -> bool:
    """Writes the row as it is in memory; False if it was deleted meanwhile."""
    values = {
        "run_id": mirrored.run_id,
        "experiment_id": mirrored.experiment_id,
        "epoch": mirrored.epoch,
        "seen_at": mirrored.seen_at,
        "closed_at": mirrored.closed_at,
        "state": mirrored.state,
    }
    query = update(Mirrored).where(Mirrored.id == mirrored.id).values(values)
    # An UPDATE by id, not a flush of the object: a row that `forget_all` has deleted meanwhile is no error,
    # and must not be made again with a run that belongs to the time before.
    return session.execute(query.returning(Mirrored.id)).first() is not None


def forget(session: Session, mirrored: Mirrored) -> None:
    """The run no longer exists: the job or study is sent again, and a study's jobs get the new parent."""
    session.execute(delete(Mirrored).where(Mirrored.id == mirrored.id))
    if mirrored.study_id is not None:
        jobs = select(Job.id).where(Job.study_id == mirrored.study_id)
        session.execute(update(Mirrored).where(Mirrored.job_id.in_(jobs)).values(seen_at=None))


def forget_all(session: Session) -> list[tuple[str, str | None]]:
    """Forgets all runs and problems; returns the runs written so far, each with its model. Projects keep their
    experiments."""
    mirror_problems.clear_all(session)
    model_id = Mirrored.state["model_id"].astext
    rows = session.execute(delete(Mirrored).returning(Mirrored.run_id, model_id))
    return [(run_id, model) for run_id, model in rows if run_id]


def _new_epochs(session: Session, job_ids: Collection[int]) -> dict[int, list[Epoch]]:
    sent = select(Mirrored.epoch).where(Mirrored.job_id == Epoch.job_id).scalar_subquery()
    newer = Epoch.epoch > func.coalesce(sent, 0)
    return _epochs(session, and_(Epoch.job_id.in_(job_ids), newer))


def _new_diagnoses(session: Session, job_ids: Collection[int]) -> dict[int, list[Diagnosis]]:
    sent = (
        select(Mirrored.state["diagnosis"].astext.cast(BigInteger))
        .where(Mirrored.job_id == Diagnosis.job_id)
        .scalar_subquery()
    )
    newer = Diagnosis.id > func.coalesce(sent, 0)
    query = select(Diagnosis).where(Diagnosis.job_id.in_(job_ids), newer).order_by(Diagnosis.id)
    return _grouped(session.scalars(query))


def read_diagnoses(session: Session, job_id: int) -> Sequence[Diagnosis]:
    """All diagnostics of this job, in order."""
    query = select(Diagnosis).where(Diagnosis.job_id == job_id)
    return session.scalars(query.order_by(Diagnosis.step, Diagnosis.id)).all()


def _epochs(session: Session, condition: ColumnElement[bool]) -> dict[int, list[Epoch]]:
    query = select(Epoch).where(condition).order_by(Epoch.job_id, Epoch.epoch)
    return _grouped(session.scalars(query))


def _grouped(rows: Iterable[OfJob]) -> dict[int, list[OfJob]]:
    groups: dict[int, list[OfJob]] = {}
    for row in rows:
        groups.setdefault(row.job_id, []).append(row)
    return groups
