"""The tables. Wide where a column has a standard meaning, JSON for the rest; every time is timestamptz.

Relationships are never loaded behind one's back (`lazy="raise"`): a query that needs one names it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

JOB_STATUSES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
FINAL_STATUSES = ("succeeded", "failed", "cancelled")
REASONS = (
    "completed", "early_stopped", "diverged", "cancelled", "timeout", "oom", "disk", "error",
)  # fmt: skip
ATTEMPT_ENDS = (
    "completed", "lost", "preempted", "drained", "paused", "cancelled", "stalled", "oom", "disk", "error",
)  # fmt: skip
COUNTED_ENDS = ("lost", "stalled", "oom", "error")
REQUESTED_ACTIONS = ("cancel", "pause", "preempt")
PRIORITIES = ("low", "normal", "high", "urgent")
ROLES = ("admin", "member", "viewer")
VERDICTS = ("holds", "does not hold", "equivalent", "undecided")
MIRROR_PROBLEMS = ("run", "files", "model", "deleted", "experiment")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Table(DeclarativeBase):
    """Base of all tables: constraint names, JSON as jsonb, aware datetimes, unlimited text."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        str: Text,
        int: BigInteger,
    }


class User(Table):
    """A person; `name` is how they are called everywhere."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    __table_args__ = (CheckConstraint(_one_of("role", ROLES), name="role"),)


class Token(Table):
    """A bearer token; only its hash is kept. `parent_id`: the token with which it was made."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("tokens.id", ondelete="SET NULL"), index=True
    )
    user: Mapped[User] = relationship(lazy="raise")


class Project(Table):
    """A named shelf; made at first use. `experiment_id`: the one in MLflow, whatever people call it there."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    experiment_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Dataset(Table):
    """A registered dataset: `source` as posted, `info` (trainer.spec.DatasetInfo) once decoded."""

    __tablename__ = "datasets"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    source: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default="registering")
    info: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        CheckConstraint(_one_of("status", ("registering", "ready", "failed")), name="status"),
    )


class Study(Table):
    """A study as it is now; its status is derived from its jobs.

    `planned_seeds`: those it was submitted with. `declared`: differences between variants that somebody
    stands for, by kind: `{why, who, at}`. `preset`: which one it came from, as it was then
    (`studies.presets.PresetRun`). `tuning`: what its trials came to, once all have succeeded. `judged_at`: what its verdicts rest on was as it is since then.
    """

    __tablename__ = "studies"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    warnings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    numerics: Mapped[dict[str, Any] | None]
    planned_seeds: Mapped[list[Any]]
    declared: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    tags: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    note: Mapped[str] = mapped_column(server_default="")
    archived_at: Mapped[datetime | None]
    preset: Mapped[dict[str, Any] | None]
    tuning: Mapped[dict[str, Any] | None]
    judged_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    project: Mapped[Project] = relationship(lazy="raise")
    owner: Mapped[User] = relationship(lazy="raise")
    __table_args__ = (
        Index("ix_studies_owner_id_id", "owner_id", "id"),
        Index(
            "ix_studies_preset",
            text("(preset ->> 'name')"),
            "id",
            postgresql_where=text("preset IS NOT NULL"),
        ),
    )


class Verdict(Table):
    """What became of one claim of a study whose jobs have ended; `answer` is all of it
    (`studies.claims.schemas.ClaimVerdict`)."""

    __tablename__ = "verdicts"
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    claim: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer)
    verdict: Mapped[str]
    n: Mapped[int] = mapped_column(Integer)
    p_value: Mapped[float | None]
    p_adjusted: Mapped[float | None]
    sentence: Mapped[str]
    answer: Mapped[dict[str, Any]]
    judged_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (CheckConstraint(_one_of("verdict", VERDICTS), name="verdict"),)


class Job(Table):
    """One training (or the decoding of one dataset, `kind`), from acceptance to its one final status.

    `attempt` is the fencing number: whoever writes for a job must hold it. It only rises; attempts up
    to `attempt_base` no longer count towards `max_attempts`, because somebody asked for a retry since.
    `facts`: what its training turned out to be (`trainer.training.facts`), once it has started. `trial`: the
    setting that it tries for its study's tuning; NULL of all others.
    """

    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(server_default="training")
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"))
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    variant: Mapped[str | None]
    point: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    trial: Mapped[dict[str, Any] | None]
    seed: Mapped[int]
    spec: Mapped[dict[str, Any]]
    hash: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="queued")
    reason: Mapped[str | None]
    requested_action: Mapped[str | None]
    requested_by: Mapped[str | None]
    priority: Mapped[int] = mapped_column(server_default="1")
    device: Mapped[str] = mapped_column(server_default="auto")
    devices: Mapped[int] = mapped_column(server_default="1")
    timeout_seconds: Mapped[float]
    max_attempts: Mapped[int] = mapped_column(server_default="3")
    attempt: Mapped[int] = mapped_column(server_default="0")
    attempt_base: Mapped[int] = mapped_column(server_default="0")
    seconds_used: Mapped[float] = mapped_column(server_default="0")
    numerics: Mapped[dict[str, Any] | None]
    facts: Mapped[dict[str, Any] | None]
    warnings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    metrics: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    non_finite: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    error: Mapped[str | None]
    step: Mapped[int] = mapped_column(server_default="0")
    total_steps: Mapped[int | None]
    tags: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    note: Mapped[str] = mapped_column(server_default="")
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    project: Mapped[Project | None] = relationship(lazy="raise")
    study: Mapped[Study | None] = relationship(lazy="raise")
    dataset: Mapped[Dataset] = relationship(lazy="raise")
    owner: Mapped[User] = relationship(lazy="raise")
    __table_args__ = (
        UniqueConstraint("study_id", "variant", "point", "seed"),
        CheckConstraint(_one_of("kind", ("training", "dataset")), name="kind"),
        CheckConstraint(_one_of("status", JOB_STATUSES), name="status"),
        CheckConstraint(_one_of("reason", REASONS), name="reason"),
        CheckConstraint(_one_of("requested_action", REQUESTED_ACTIONS), name="requested_action"),
        CheckConstraint(
            f"({_one_of('status', FINAL_STATUSES)}) = (finished_at IS NOT NULL)", name="finished"
        ),
        Index("ix_jobs_claimable", "queued_at", postgresql_where=text("status = 'queued'")),
        Index("ix_jobs_study_id_id", "study_id", "id"),
        Index("ix_jobs_owner_id_id", "owner_id", "id"),
        Index("ix_jobs_project_id_id", "project_id", "id"),
        Index("ix_jobs_dataset_id", "dataset_id"),
    )


class Attempt(Table):
    """One execution of a job.

    `seconds`: training time as the worker measured it; `counts`: its end counts towards the limit.
    `instance`: of the worker whose process runs it (`Worker.instance` when it started).
    """

    __tablename__ = "attempts"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    host: Mapped[str]
    process: Mapped[int]
    instance: Mapped[str | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    ended_at: Mapped[datetime | None]
    end: Mapped[str | None]
    counts: Mapped[bool] = mapped_column(server_default="false")
    seconds: Mapped[float] = mapped_column(server_default="0")
    first_step: Mapped[int | None]
    environment: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    __table_args__ = (
        CheckConstraint(_one_of('"end"', ATTEMPT_ENDS), name="end"),
        CheckConstraint('("end" IS NULL) = (ended_at IS NULL)', name="ended"),
        Index("ix_attempts_ended_at", "ended_at"),
    )


class Worker(Table):
    """A worker's parent process on a host, which owns the host's queue.

    `instance` is new at each start of a worker; NULL in rows from before there were any. `namespace`: in which
    `process` is a process id. `address`: where the server sees the worker; NULL on a Unix socket.
    `ended_at`: it has ended by itself, and none of its processes is left.
    `shortage`: the folder without enough room (`store.hosts.host_health.Shortage`), for which the host takes no jobs.
    `held_until`: it takes no jobs until then, because its disk ran full under a job, `disk_failures` times
    without one that completed between them. `clock_ahead_seconds`: of the database's clock.
    """

    __tablename__ = "workers"
    host: Mapped[str] = mapped_column(primary_key=True)
    process: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    draining: Mapped[bool] = mapped_column(server_default="false")
    instance: Mapped[str | None]
    machine: Mapped[str | None]
    namespace: Mapped[str | None]
    address: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    shortage: Mapped[dict[str, Any] | None]
    disk_failures: Mapped[int] = mapped_column(Integer, server_default="0")
    held_until: Mapped[datetime | None]
    clock_ahead_seconds: Mapped[float | None]


class Storage(Table):
    """The one storage of this database: the id in the folder's marker file, and where it was adopted."""

    __tablename__ = "storage"
    singleton: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    id: Mapped[str]
    folder: Mapped[str]
    machine: Mapped[str]
    adopted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (CheckConstraint("singleton", name="singleton"),)


class Device(Table):
    """A device of a host and how many jobs it may run at once."""

    __tablename__ = "devices"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    host: Mapped[str] = mapped_column(ForeignKey("workers.host", ondelete="CASCADE"))
    kind: Mapped[str]
    number: Mapped[int]
    name: Mapped[str]
    slots: Mapped[int]
    __table_args__ = (
        UniqueConstraint("host", "kind", "number"),
        CheckConstraint(_one_of("kind", ("cpu", "cuda")), name="kind"),
    )


class Lease(Table):
    """A job's attempt holds one slot of one device until `expires_at`, unless renewed."""

    __tablename__ = "leases"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    attempt: Mapped[int]
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    slot: Mapped[int]
    expires_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("device_id", "slot"),)


class Epoch(Table):
    """One evaluation period of a job. A value that isn't finite is NULL here and named in `non_finite`."""

    __tablename__ = "epochs"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    step: Mapped[int]
    train_loss: Mapped[float | None]
    train_cost: Mapped[float | None]
    train_accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    learning_rate: Mapped[float | None]
    seconds: Mapped[float]
    extra: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    non_finite: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Diagnosis(Table):
    """What one look into a job's network saw of one layer. A value that isn't finite is NULL here and
    named in `non_finite`. Ids grow in the order of recording."""

    __tablename__ = "diagnoses"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    epoch: Mapped[int]
    step: Mapped[int]
    layer: Mapped[str]
    statistics: Mapped[dict[str, Any]]
    non_finite: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (UniqueConstraint("job_id", "layer", "step"),)


class Checkpoint(Table):
    """A checkpoint file exists once this row names it; `path` is relative to the storage root."""

    __tablename__ = "checkpoints"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    kind: Mapped[str]
    epoch: Mapped[int]
    step: Mapped[int]
    path: Mapped[str]
    digest: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        UniqueConstraint("job_id", "path"),
        CheckConstraint(_one_of("kind", ("last", "best")), name="kind"),
    )


class File(Table):
    """A file that belongs to a job or a study; `path` is relative to the storage root."""

    __tablename__ = "files"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), index=True)
    name: Mapped[str]
    path: Mapped[str]
    digest: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        UniqueConstraint("job_id", "name"),
        UniqueConstraint("study_id", "name"),
        CheckConstraint("num_nonnulls(job_id, study_id) = 1", name="one_owner"),
    )


class LogLine(Table):
    """One line that a job's attempt said."""

    __tablename__ = "log_lines"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    level: Mapped[str]
    text: Mapped[str]
    __table_args__ = (Index("ix_log_lines_job_id_id", "job_id", "id"),)


class Transition(Table):
    """Who changed a job's status, when, from what, to what, and why."""

    __tablename__ = "transitions"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    who: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    why: Mapped[str]


class IdempotencyKey(Table):
    """A request already accepted: the same key and body give the same answer again."""

    __tablename__ = "idempotency_keys"
    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status_code: Mapped[int]
    response: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Mirrored(Table):
    """How far MLflow has a job or a study: its run, the last epoch sent, the change it has seen."""

    __tablename__ = "mirrored"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), unique=True)
    run_id: Mapped[str]
    experiment_id: Mapped[str]
    epoch: Mapped[int] = mapped_column(server_default="0")
    seen_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    state: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    __table_args__ = (CheckConstraint("num_nonnulls(job_id, study_id) = 1", name="one_owner"),)


class MirrorProblem(Table):
    """What MLflow lacks of a job, a study or a project, and why; gone once MLflow has it.

    `kind`: `run`, `files` and `model` could not be sent; `deleted`: somebody deleted the run there;
    `experiment`: somebody deleted the project's experiment there. `next_at`: when it is tried again;
    NULL: not by itself.
    """

    __tablename__ = "mirror_problems"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    next_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("job_id", "kind"),
        UniqueConstraint("study_id", "kind"),
        UniqueConstraint("project_id", "kind"),
        CheckConstraint(_one_of("kind", MIRROR_PROBLEMS), name="kind"),
        CheckConstraint("num_nonnulls(job_id, study_id, project_id) = 1", name="one_owner"),
    )
