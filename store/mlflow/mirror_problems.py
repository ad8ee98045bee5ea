"""What could not be sent to MLflow, why, since when, and when the mirror tries again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from store.db import Job, MirrorProblem, Project, Study, sanitize_text

Kind = Literal["run", "files", "model", "deleted", "experiment"]
Id: TypeAlias = InstrumentedAttribute[int]
OptionalId: TypeAlias = InstrumentedAttribute[int | None]

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is missing in MLflow: something of one job, one study or one project."""

    kind: Kind
    job_id: int | None = None
    study_id: int | None = None
    project_id: int | None = None

    @property
    def owner(self) -> dict[str, int]:
        """The one column that is set."""
        owners = {"job_id": self.job_id, "study_id": self.study_id, "project_id": self.project_id}
        return {name: value for name, value in owners.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Lack:
    """A problem with the name of the project, study or job that has it."""

    problem: MirrorProblem
    name: str


def record_failure(
    session: Session,
    subject: Subject,
    reason: str,
    *,
    at_once: bool,
    first_pause: float = FIRST_PAUSE_SECONDS,
) -> float:
    """Counts one more attempt; returns the pause before the next, in seconds.

    `at_once`: the cause has been removed, so there is no pause; for the first attempt only.
    """
    row = _upsert(session, subject, reason, attempts=1)
    pause = pause_after(row.attempts, first_pause)
    # Only once: a cause that seems to be out of the way and is not would else make the mirror try without a
    # pause for ever.
    if at_once and row.attempts == 1:
        pause = 0.0
    row.next_at = func.clock_timestamp() + timedelta(seconds=pause)
    return pause


def pause_after(attempts: int, first_pause: float = FIRST_PAUSE_SECONDS) -> float:
    """Seconds until the next attempt: twice as long after each failure, up to an hour."""
    return min(LONGEST_PAUSE_SECONDS, first_pause * 2.0 ** min(attempts - 1, 20))


def note(session: Session, subject: Subject, reason: str) -> bool:
    """Records what no further attempt would change; False if exactly that was recorded before."""
    query = select(MirrorProblem).where(_is_about(subject))
    row = session.scalars(query).one_or_none()
    if row is not None and row.reason == sanitize_text(reason) and row.next_at is None:
        return False
    _upsert(session, subject, reason, attempts=0).next_at = None
    return True


def clear(session: Session, subject: Subject) -> None:
    session.execute(delete(MirrorProblem).where(_is_about(subject)))


def clear_runs(session: Session, job_ids: Collection[int]) -> None:
    """The runs of these jobs have been written."""
    of_run = MirrorProblem.kind == "run"
    session.execute(delete(MirrorProblem).where(of_run, MirrorProblem.job_id.in_(job_ids)))


def clear_all(session: Session) -> None:
    session.execute(delete(MirrorProblem))


def try_now(session: Session) -> None:
    """Ends all pauses: a new mirror may be able to send what an earlier one could not."""
    waiting = MirrorProblem.next_at.is_not(None)
    session.execute(update(MirrorProblem).where(waiting).values(next_at=func.clock_timestamp()))


def are_waiting(session: Session) -> bool:
    """Whether anything that could not be sent will be tried again."""
    return bool(session.scalar(select(exists().where(MirrorProblem.next_at.is_not(None)))))


def is_held_back(kind: Kind, *owners: tuple[OptionalId, OptionalId | Id]) -> ColumnElement[bool]:
    """Whether the row's owner pauses in this kind, or its run was deleted."""
    owned = or_(*(column == owner for column, owner in owners))
    pauses = and_(MirrorProblem.kind == kind, MirrorProblem.next_at > func.clock_timestamp())
    return exists().where(owned, or_(pauses, MirrorProblem.kind == "deleted"))


def of_jobs(session: Session, job_ids: Collection[int]) -> dict[int, list[MirrorProblem]]:
    """The problems of each of these jobs that has any, the oldest first."""
    query = select(MirrorProblem).where(MirrorProblem.job_id.in_(job_ids))
    groups: dict[int, list[MirrorProblem]] = {}
    for row in session.scalars(query.order_by(MirrorProblem.id)):
        groups.setdefault(row.job_id or 0, []).append(row)
    return groups


def of_studies(session: Session, study_ids: Collection[int]) -> dict[int, list[MirrorProblem]]:
    """The problems of each of these studies, of its project's experiment and of its jobs, in this order."""
    problems = select(MirrorProblem).order_by(MirrorProblem.id)
    own = problems.add_columns(MirrorProblem.study_id)
    of_project = problems.add_columns(Study.id).join(
        Study, Study.project_id == MirrorProblem.project_id
    )
    of_jobs = problems.add_columns(Job.study_id).join(Job, Job.id == MirrorProblem.job_id)
    groups: dict[int, list[MirrorProblem]] = {}
    for query in (
        own.where(MirrorProblem.study_id.in_(study_ids)),
        of_project.where(Study.id.in_(study_ids)),
        of_jobs.where(Job.study_id.in_(study_ids)),
    ):
        for row, study_id in session.execute(query):
            groups.setdefault(study_id, []).append(row)
    return groups


def of_projects(session: Session) -> set[int]:
    """The projects whose experiment is known to be deleted."""
    query = select(MirrorProblem.project_id).where(MirrorProblem.project_id.is_not(None))
    return {project_id for project_id in session.scalars(query) if project_id is not None}


def list_problems(session: Session, limit: int) -> Sequence[Lack]:
    """The oldest first."""
    name = func.coalesce(Job.name, Study.name, Project.name)
    query = (
        select(MirrorProblem, name)
        .outerjoin(Job, Job.id == MirrorProblem.job_id)
        .outerjoin(Study, Study.id == MirrorProblem.study_id)
        .outerjoin(Project, Project.id == MirrorProblem.project_id)
        .order_by(MirrorProblem.since, MirrorProblem.id)
        .limit(limit)
    )
    return [Lack(problem, name) for problem, name in session.execute(query)]


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(MirrorProblem)) or 0


def _upsert(session: Session, subject: Subject, reason: str, attempts: int) -> MirrorProblem:
    """The subject's row, with this reason and that many more attempts."""
    [column] = subject.owner
    # What MLflow or an exporter says may hold characters that PostgreSQL refuses.
    reason = sanitize_text(reason)
    made = insert(MirrorProblem).values(
        **subject.owner, kind=subject.kind, reason=reason, attempts=attempts
    )
    session.execute(
        # `attempts` is added up in SQL, and `since` keeps its first value: it says how long MLflow has lacked
        # this.
        made.on_conflict_do_update(
            index_elements=[column, "kind"],
            set_={"reason": reason, "attempts": MirrorProblem.attempts + attempts},
        )
    )
    query = select(MirrorProblem).where(_is_about(subject))
    return session.scalars(query.execution_options(populate_existing=True)).one()


def _is_about(subject: Subject) -> ColumnElement[bool]:
    [(column, value)] = subject.owner.items()
    return and_(getattr(MirrorProblem, column) == value, MirrorProblem.kind == subject.kind)
