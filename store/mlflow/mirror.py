"""What is missing in MLflow, and how far each run has been written.

A row of `mirrored` is made, with a key, before its run: `run_id` is empty until the run is known to
exist. So a crash in between leaves a row that says under which key to look for the run.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    case,
    cast,
    column,
    delete,
    func,
    or_,
    select,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

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

#: The columns of `mirrored` that say how far a run has been written.
_SAVED = ("id", "run_id", "experiment_id", "epoch", "seen_at", "closed_at", "state")

#: `seen_at` of a study that is being written: older than any change, so that it stays due.
_BEING_WRITTEN = datetime(1970, 1, 1, tzinfo=UTC)


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


def due_jobs(session: Session, limit: int, among: Collection[int] | None = None) -> list[int]:
    """Jobs that changed since MLflow saw them: those that have ended first, then the oldest change first.

    A job that has never started has no run yet. `among`: only these are looked at, and those with a problem; None: every
    job.
    """
    # Compared for inequality: transactions don't commit in the order of their times.
    changed = Mirrored.seen_at.is_distinct_from(Job.changed_at)
    has_ended = Job.status.in_(FINAL_STATUSES)
    has_run = or_(Mirrored.id.is_not(None), Job.attempt > 0, has_ended)
    held_back = is_held_back("run", (MirrorProblem.job_id, Job.id))
    query = (
        select(Job.id)
        .outerjoin(Mirrored, Mirrored.job_id == Job.id)
        .where(Job.kind == "training", changed, has_run, ~held_back)
        .order_by(has_ended.desc(), Job.changed_at, Job.id)
        .limit(limit)
    )
    if among is not None:
        among = {*among, *_with_problem(session, MirrorProblem.job_id)}
        if not among:
            return []
        query = query.where(Job.id.in_(among))
    return list(session.scalars(query))


def read_jobs(session: Session, job_ids: Collection[int]) -> list[JobToMirror]:
    """These jobs and their new epochs. The jobs are read first: what follows may only be newer."""
    if not job_ids:
        return []
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


def studies_of(session: Session, job_ids: Collection[int]) -> set[int]:
    """The studies that these jobs belong to."""
    if not job_ids:
        return set()
    query = select(Job.study_id).where(Job.id.in_(job_ids), Job.study_id.is_not(None)).distinct()
    return {study_id for study_id in session.scalars(query) if study_id is not None}


def due_studies(session: Session, among: Collection[int] | None = None) -> dict[int, bool]:
    """Studies with a job that changed since MLflow saw the study, and whether all jobs have ended.

    `among`: only these are looked at, and those with a problem; None: every study.
    """
    held_back = is_held_back("run", (MirrorProblem.study_id, Study.id))
    query = (
        select(Study.id, func.bool_and(Job.status.in_(FINAL_STATUSES)))
        .join(Job, Job.study_id == Study.id)
        .outerjoin(Mirrored, Mirrored.study_id == Study.id)
        .where(~held_back)
        .group_by(Study.id, Mirrored.id)
        .having(Mirrored.seen_at.is_distinct_from(func.max(Job.changed_at)))
        .order_by(Study.id)
    )
    if among is not None:
        among = {*among, *_with_problem(session, MirrorProblem.study_id)}
        if not among:
            return {}
        query = query.where(Study.id.in_(among))
    return {study_id: has_ended for study_id, has_ended in session.execute(query)}


def read_study(session: Session, study_id: int) -> StudyToMirror | None:
    """The study as it is to be written; None: it has been deleted. A verdict, a tag or a job that comes later makes it due again (`save`)."""
    # From here on NULL means a change after this one was read: whoever makes it waits for this transaction.
    marked = update(Mirrored).where(Mirrored.study_id == study_id, Mirrored.seen_at.is_(None))
    session.execute(marked.values(seen_at=_BEING_WRITTEN))
    query = (
        select(Study, User.name, Project.name, Mirrored)
        .join(User, User.id == Study.owner_id)
        .join(Project, Project.id == Study.project_id)
        .outerjoin(Mirrored, Mirrored.study_id == Study.id)
        .where(Study.id == study_id)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    study, owner, project, mirrored = row
    jobs = session.scalars(select(Job).where(Job.study_id == study_id).order_by(Job.id)).all()
    rows = verdicts.of_studies(session, [study_id])[study_id]
    return StudyToMirror(study, owner, project, mirrored, jobs, rows)


def runs_of_studies(session: Session, study_ids: Collection[int]) -> dict[int, str]:
    """The parent runs of those of these studies that have one."""
    if not study_ids:
        return {}
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


def open_runs(
    session: Session,
    experiment_ids: Mapping[int, str],
    *,
    of_studies: bool = False,
) -> dict[int, Mirrored]:
    """A row for each run that is about to be made, by the id of its job (or study), or the row that is there; not
    yet committed."""
    if not experiment_ids:
        return {}
    owner = Mirrored.study_id if of_studies else Mirrored.job_id
    rows = [
        {owner.key: owner_id, "run_id": "", "experiment_id": one, "state": {"key": uuid4().hex}}
        for owner_id, one in experiment_ids.items()
    ]
    # The row may be there already: from a try that was cut off after its commit, whose key finds the run,
    # or from another transaction that was faster.
    session.execute(insert(Mirrored).values(rows).on_conflict_do_nothing())
    opened = session.scalars(select(Mirrored).where(owner.in_(experiment_ids)))
    return {getattr(row, owner.key): row for row in opened}


def save(session: Session, rows: Sequence[Mirrored]) -> set[int]:
    """Writes the rows as they are in memory, in one statement; returns the ids of those that were still there."""
    if not rows:
        return set()
    columns = [Mirrored.__table__.c[name] for name in _SAVED]
    written = values(*(column(one.name, one.type) for one in columns), name="written").data(
        [tuple(getattr(row, name) for name in _SAVED) for row in rows]
    )
    # Cast, because a column of nothing but NULLs would be text.
    # An UPDATE by id, not a flush of the objects: a row that `forget_all` has deleted meanwhile is no error,
    # and must not be made again with a run that belongs to the time before.
    new: dict[str, ColumnElement[Any]] = {
        one.name: cast(written.c[one.name], one.type) for one in columns[1:]
    }
    # A study that has changed since it was read, or has not been read since its row was made, stays as it is: due.
    is_due = and_(Mirrored.study_id.is_not(None), Mirrored.seen_at.is_(None))
    for name, kept in (("seen_at", Mirrored.seen_at), ("closed_at", Mirrored.closed_at)):
        new[name] = case((is_due, kept), else_=new[name])
    query = (
        update(Mirrored)
        .where(Mirrored.id == written.c.id)
        .values(new)
        .returning(Mirrored.id)
        .execution_options(synchronize_session=False)
    )
    return set(session.scalars(query))


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


def _with_problem(session: Session, owner: InstrumentedAttribute[int | None]) -> list[int]:
    """Whose run could not be written, and may be tried again."""
    query = select(owner).where(MirrorProblem.kind == "run", owner.is_not(None))
    return [owner_id for owner_id in session.scalars(query) if owner_id is not None]


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
