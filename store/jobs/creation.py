"""Creation: any number of jobs, their first transitions and their announcement, in one statement."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Float,
    Row,
    Select,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.attributes import set_committed_value

from store.access import members
from store.catalog import datasets, initial_weights, projects
from store.db import (
    JOBS_CHANNEL,
    PRIORITIES,
    Dataset,
    Job,
    Study,
    Transition,
    User,
    record_answered,
    sanitize_text,
)
from store.jobs import limits
from store.reuse import answers, for_study, note_answers
from trainer.spec import JobSpec, Numerics, content_hash


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be created: one cell of a study, or a single job; `reuse`: an equal one that has succeeded may answer it."""

    spec: JobSpec
    name: str
    variant: str | None = None
    point: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    trial: Mapping[str, Any] | None = None
    reuse: bool = False
    expected_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A single job that somebody submits to a project, by its name; `remember` joins the transaction that creates it;
    `trace_context`: of the request (`runtime.tracing`)."""

    owner: User
    project: str
    dataset: Dataset
    new: NewJob
    remember: Callable[[Session, Job], None] | None = None
    trace_context: str | None = None


def accept(session: Session, submissions: Sequence[Submission]) -> list[Job]:
    """Accept jobs without a study, in their order; a project is made if it is new.

    Raises DatasetUnavailable when a dataset's registration has failed, LimitReached, PriorityRefused, ProjectRefused, and
    NotFound of weights to begin from: then none is accepted.
    """
    # Before the projects: a transaction that waits for a dataset must not hold a new project's name, for which
    # jobs on other datasets would wait.
    usable = datasets.lock_all_usable(session, (one.dataset for one in submissions))
    # A new project is that of whoever came first.
    owners = {one.project: one.owner for one in reversed(submissions)}
    # In one order everywhere: two transactions that each make two projects would else wait for one another.
    on = {name: projects.get_or_create(session, name, owners[name]) for name in sorted(owners)}
    for name, project in on.items():
        people = {one.owner.id: one.owner for one in submissions if one.project == name}
        members.ensure_may_submit(session, project, people.values())
    rows = [
        {
            **_row(one.new, one.owner.id, on[one.project].id, usable[one.dataset.name]),
            "trace_context": one.trace_context,
        }
        for one in submissions
    ]
    initial_weights.keep(session, (one.new.spec for one in submissions))
    note_answers(session, [[row] for row in rows])
    jobs = [row[0] for row in _insert(session, _INSERTED_JOBS, rows)]
    _copy_records(session, jobs)
    for job, one in zip(jobs, submissions, strict=True):
        # Known here: to load them would take two statements more.
        set_committed_value(job, "owner", one.owner)
        set_committed_value(job, "project", on[one.project])
        if one.remember is not None:
            one.remember(session, job)
    return jobs


def insert_jobs(
    session: Session,
    study: Study,
    on: Mapping[str, Dataset],
    new: Sequence[NewJob],
    *,
    device: str | None,
    who: str,
) -> None:
    """Accept a new study's jobs on these datasets (of `datasets.lock_all_usable`); `device` overrides that of the specs."""
    initial_weights.keep(session, (one.spec for one in new))
    rows = _study_rows(study, on, new, device)
    [decided] = note_answers(session, [rows])
    # All of the study's jobs must have the numerics of those that are answered.
    if decided is not None:
        study.numerics = for_study(decided)
    _insert(session, _INSERTED, rows, who)
    if decided is not None:
        answered = select(Job.id).where(Job.study_id == study.id, Job.reused_from.is_not(None))
        answers.copy_records(session, session.scalars(answered).all())
        record_answered(session, study.id)


def add_jobs(
    session: Session,
    study: Study,
    on: Mapping[str, Dataset],
    new: Sequence[NewJob],
    *,
    device: str | None,
    who: str,
    are_limited: bool,
) -> list[Job]:
    """As `insert_jobs` for a study that has jobs, and reads the new rows, in the order of the cells; where they aren't
    limited, whatever limits their owner has."""
    initial_weights.keep(session, (one.spec for one in new))
    rows = _study_rows(study, on, new, device)
    # Before its first claim the study's numerics hang on all of its jobs: then the new ones are answered by claims.
    if study.numerics is not None:
        note_answers(session, [rows], Numerics.model_validate(study.numerics))
    made = _insert(session, _INSERTED_JOBS, rows, who, are_limited=are_limited)
    jobs = [row[0] for row in made]
    if _copy_records(session, jobs):
        record_answered(session, study.id)
    return jobs


def _copy_records(session: Session, jobs: Sequence[Job]) -> bool:
    """Whether any of them is answered."""
    if answered := [job.id for job in jobs if job.reused_from is not None]:
        answers.copy_records(session, answered)
    return bool(answered)


def _study_rows(
    study: Study, on: Mapping[str, Dataset], new: Sequence[NewJob], device: str | None
) -> list[dict[str, Any]]:
    return [
        {
            **_row(one, study.owner_id, study.project_id, on[one.spec.dataset.name], device),
            "study_id": study.id,
            "trace_context": study.trace_context,
        }
        for one in new
    ]


def _insert(
    session: Session,
    statement: Select[Any],
    rows: Sequence[Mapping[str, Any]],
    who: str | None = None,
    *,
    are_limited: bool = True,
) -> Sequence[Row[Any]]:
    """`who` submits them; None: the owner of each. Raises LimitReached or PriorityRefused."""
    values = {"rows": [{"number": n, **row} for n, row in enumerate(rows)], "who": who}
    made = session.execute(statement, {**values, "are_limited": are_limited}).all()
    if not are_limited or not rows or (made and made[0][-1] != 0):
        return made
    # Nothing was inserted: somebody has a limit that may concern these jobs. Of all others it is known by now, without
    # a statement more.
    limits.admit(session, [row for row in rows if row["reused_from"] is None])
    return session.execute(statement, {**values, "are_limited": False}).all()


def _row(
    new: NewJob, owner_id: int, project_id: int, dataset: Dataset, device: str | None = None
) -> dict[str, Any]:
    resources = new.spec.resources
    return {
        "owner_id": owner_id,
        "project_id": project_id,
        "dataset_id": dataset.id,
        "name": new.name,
        "variant": new.variant,
        "point": dict(new.point),
        "trial": None if new.trial is None else dict(new.trial),
        "seed": new.spec.seed,
        "spec": new.spec.model_dump(mode="json"),
        "hash": content_hash(new.spec, dataset.info["digest"]) if dataset.info else "",
        "may_reuse": new.reuse,
        "reused_from": None,
        "expected_seconds": new.expected_seconds,
        "warnings": [sanitize_text(warning) for warning in new.warnings],
        "priority": PRIORITIES.index(resources.priority),
        "packages": [str(one) for one in new.spec.packages],
        "device": device or resources.device,
        "devices": resources.devices,
        "exclusive": resources.exclusive,
        "timeout_seconds": resources.timeout,
        "max_attempts": resources.max_attempts,
    }


# All rows are one parameter. Multi-row VALUES would have twenty parameters for each: a text of hundreds of
# kilobytes, which SQLAlchemy and psycopg each take apart in Python, for longer than PostgreSQL needs for the rows.
_COLUMNS: Mapping[Any, Sequence[str]] = {
    BigInteger: (
        "number", "owner_id", "project_id", "study_id", "dataset_id", "seed", "reused_from", "priority", "devices",
        "max_attempts",
    ),
    Boolean: ("may_reuse", "exclusive"),
    Float: ("expected_seconds", "timeout_seconds"),
    JSONB: ("point", "trial", "spec", "warnings"),
    Text: ("name", "variant", "hash", "trace_context", "device"),
    ARRAY(Text): ("packages",),
}  # fmt: skip
_FUNCTION = (
    func.json_to_recordset(bindparam("rows", type_=JSON))
    .table_valued(
        *(column(name, kind) for kind, names in _COLUMNS.items() for name in names), name="new"
    )
    .render_derived(with_types=True)
)
# Read once, for the jobs and for their limits.
_ROWS = select(*_FUNCTION.c).cte("given")
# A job that is answered when it is submitted has ended by then: nothing ever sees it queued.
_SOURCE = aliased(Job, name="source")
_IS_ANSWERED = _ROWS.c.reused_from.is_not(None)
_RESULT: Mapping[str, Any] = {
    "status": case((_IS_ANSWERED, "succeeded"), else_="queued"),
    "finished_at": case((_IS_ANSWERED, func.now())),
    **{name: getattr(_SOURCE, name) for name in answers.RESULT},
    "warnings": func.coalesce(_SOURCE.warnings, _ROWS.c.warnings),
    "step": func.coalesce(_SOURCE.step, 0),
    "seconds_used": func.coalesce(_SOURCE.seconds_used, 0.0),
    **{
        name: func.coalesce(getattr(_SOURCE, name), cast(literal({}, JSONB), JSONB))
        for name in ("metrics", "non_finite")
    },
}
_GIVEN = [one.name for one in _ROWS.c if one.name not in ("number", *_RESULT)]
_MADE = (
    insert(Job)
    .from_select(
        ["kind", "shape", *_GIVEN, *_RESULT],
        # PostgreSQL numbers the new rows in the order in which they were given.
        select(
            literal("training", Text),
            func.shape_of(_ROWS.c.spec),
            *(_ROWS.c[name] for name in _GIVEN),
            *_RESULT.values(),
        )
        .select_from(_ROWS)
        .outerjoin(_SOURCE, _SOURCE.id == _ROWS.c.reused_from)
        .where(or_(not_(bindparam("are_limited", type_=Boolean)), not_(limits.concerns(_ROWS))))
        .order_by(_ROWS.c.number),
    )
    .returning(Job)
    .cte("made")
)
_NOTED = (
    insert(Transition)
    .from_select(
        ["job_id", "who", "to_status", "why"],
        select(
            _MADE.c.id,
            func.coalesce(bindparam("who", type_=Text), User.name),
            _MADE.c.status,
            case(
                (_MADE.c.reused_from.is_(None), "submitted"),
                else_=func.format(answers.ANSWERED, _MADE.c.reused_from),
            ),
        )
        .join(User, User.id == _MADE.c.owner_id)
        .order_by(_MADE.c.id),
    )
    .cte("noted")
)
_ANNOUNCED = func.pg_notify(literal(JOBS_CHANNEL, Text), cast(_MADE.c.id, Text))
_INSERTED: Select[Any] = select(func.count(_ANNOUNCED)).add_cte(_NOTED)
_INSERTED_JOBS: Select[Any] = (
    select(aliased(Job, _MADE), _ANNOUNCED).add_cte(_NOTED).order_by(_MADE.c.id)
)
