"""Studies, jobs and their attempts."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    and_,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.db.models.accounts import Dataset, Project, User
from store.db.models.table import Table, one_of

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


class Study(Table):
    """A study as it is now; its status is derived from its jobs.

    `document`: the text that it was submitted as, with its comments, where that was one; read on its own
    (`studies.read_document`). `planned_seeds`: those it was submitted with. `declared`: acknowledged differences between
    variants, by kind: `{why, who, at}`. `preset`: which one it came from, as it was then
    (`studies.presets.PresetRun`). `searched`: by arm, what its search has come upon besides its
    trials (`studies.tuning`). `tuning`: what its trials came to, once all have ended. `judged_at`: what its verdicts rest on was as it is since then.
    `trace_context`: of the request that submitted it (`runtime.tracing`); its jobs have the same.
    """

    __tablename__ = "studies"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    document: Mapped[str | None] = mapped_column(deferred=True, deferred_raiseload=True)
    warnings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    numerics: Mapped[dict[str, Any] | None]
    planned_seeds: Mapped[list[Any]]
    declared: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    tags: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    note: Mapped[str] = mapped_column(server_default="")
    archived_at: Mapped[datetime | None]
    preset: Mapped[dict[str, Any] | None]
    searched: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    tuning: Mapped[dict[str, Any] | None]
    trace_context: Mapped[str | None]
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


_IS_TRAINED = "status = 'succeeded' AND kind = 'training' AND reused_from IS NULL"


class Job(Table):
    """One training (or the decoding of one dataset, `kind`), from acceptance to its one final status.

    `attempt` is the fencing number: whoever writes for a job must hold it. It only rises; attempts up
    to `attempt_base` no longer count towards `max_attempts`, because of a retry since.
    `facts`: what its training turned out to be (`trainer.training.facts`), once it has started. `trial`: the
    setting that it tries for its study's tuning, {} where its arm has nothing to try, and of a pretraining; NULL of all others. `may_reuse`: an equal job that has succeeded
    may answer it (`store.reuse`); `reused_from`: the one that did; `waits_for`: the one that trains the same
    now, until whose end the job is not claimed. `expected_seconds`: by the bill with which it was submitted.
    `trace_context`: of the request that submitted it, where requests are traced.
    `shape`: of its spec, by which it shares a GPU's memory with others (`store.hosts.footprints`); empty where it runs
    alone. `packages`: of plugins that it needs, as `trainer.spec.InstalledPackage` reads as text.
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
    may_reuse: Mapped[bool] = mapped_column(server_default="false")
    # No foreign key: it stays when that job is deleted.
    reused_from: Mapped[int | None]
    waits_for: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    status: Mapped[str] = mapped_column(server_default="queued")
    reason: Mapped[str | None]
    requested_action: Mapped[str | None]
    requested_by: Mapped[str | None]
    priority: Mapped[int] = mapped_column(server_default="1")
    device: Mapped[str] = mapped_column(server_default="auto")
    devices: Mapped[int] = mapped_column(server_default="1")
    exclusive: Mapped[bool] = mapped_column(server_default="false")
    packages: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    shape: Mapped[str] = mapped_column(server_default="")
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
    expected_seconds: Mapped[float | None]
    trace_context: Mapped[str | None]
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
        # A cell of a study is one job, even if two requests extend the study at once. Jobs without a study
        # are not concerned: in a unique constraint no NULL equals another.
        UniqueConstraint("study_id", "variant", "point", "seed"),
        CheckConstraint(one_of("kind", ("training", "dataset")), name="kind"),
        CheckConstraint(one_of("status", JOB_STATUSES), name="status"),
        CheckConstraint(one_of("reason", REASONS), name="reason"),
        CheckConstraint(one_of("requested_action", REQUESTED_ACTIONS), name="requested_action"),
        CheckConstraint(
            f"({one_of('status', FINAL_STATUSES)}) = (finished_at IS NOT NULL)", name="finished"
        ),
        # Partial: the table keeps every job there ever was, but the queue is the queued ones only, less those that
        # wait for an equal one. A person's jobs of one class that need the same devices lie side by side, the oldest
        # first (`store.jobs.order`); in the second index also by what they take of a GPU's memory.
        *(
            Index(
                name,
                *(
                    "owner_id",
                    "priority",
                    "device",
                    "devices",
                    "exclusive",
                    *shape,
                    "queued_at",
                    "id",
                ),
                postgresql_where=text("status = 'queued' AND waits_for IS NULL"),
            )
            for name, shape in (("ix_jobs_claimable", ()), ("ix_jobs_packable", ("shape",)))
        ),
        # Those that train the same: the newest of a status.
        Index("ix_jobs_hash", "hash", "status", "id"),
        *(
            Index(f"ix_jobs_{name}", name, postgresql_where=text(f"{name} IS NOT NULL"))
            for name in ("reused_from", "waits_for")
        ),
        Index("ix_jobs_running", "started_at", "id", postgresql_where=text("status = 'running'")),
        # No column in it changes while a job runs: the many updates of its progress touch no index.
        Index(
            "ix_jobs_succeeded",
            "study_id",
            "finished_at",
            postgresql_where=text("status = 'succeeded' AND reused_from IS NULL"),
        ),
        Index("ix_jobs_shape", text("shape_of(spec)"), "id", postgresql_where=text(_IS_TRAINED)),
        Index(
            "ix_jobs_billed",
            "id",
            postgresql_where=text(f"{_IS_TRAINED} AND expected_seconds IS NOT NULL"),
        ),
        Index("ix_jobs_study_id_id", "study_id", "id"),
        # What a list of studies says of each, without a look at its jobs' rows.
        Index(
            "ix_jobs_tally",
            "study_id",
            "status",
            postgresql_include=["reused_from", "expected_seconds", "seconds_used"],
            postgresql_where=text("study_id IS NOT NULL"),
        ),
        Index("ix_jobs_owner_id_id", "owner_id", "id"),
        Index("ix_jobs_project_id_id", "project_id", "id"),
        Index("ix_jobs_dataset_id", "dataset_id"),
        Index(
            "ix_jobs_registrations", "dataset_id", "id", postgresql_where=text("kind = 'dataset'")
        ),
    )


#: In line for a device: queued, and not waiting for an equal job. Written into statements, not bound: a plan for any
#: value of a parameter could not use the partial index.
IN_LINE = and_(Job.status == literal_column("'queued'"), Job.waits_for.is_(None))


class Attempt(Table):
    """One execution of a job.

    `seconds`: training time as the worker measured it; `counts`: its end counts towards the limit.
    `expected_seconds`: what it counts with at least in its owner's use while it runs (`store.jobs.usage`).
    `instance`: of the worker whose process runs it (`Worker.instance` when it started). `slots`: how many it holds.
    `memory_bytes`: its process's, or its GPU's, at most.
    """

    __tablename__ = "attempts"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    host: Mapped[str]
    process: Mapped[int]
    instance: Mapped[str | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    ended_at: Mapped[datetime | None]
    end: Mapped[str | None]
    counts: Mapped[bool] = mapped_column(server_default="false")
    seconds: Mapped[float] = mapped_column(server_default="0")
    expected_seconds: Mapped[float] = mapped_column(server_default="300")
    slots: Mapped[int] = mapped_column(server_default="1")
    first_step: Mapped[int | None]
    memory_bytes: Mapped[int | None]
    environment: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    __table_args__ = (
        CheckConstraint(one_of('"end"', ATTEMPT_ENDS), name="end"),
        CheckConstraint('("end" IS NULL) = (ended_at IS NULL)', name="ended"),
        # To count them by their ends (`store.monitoring`) without their rows, which are wide.
        Index("ix_attempts_end", "end"),
        Index("ix_attempts_open", "host", postgresql_where=text("ended_at IS NULL")),
        Index(
            "ix_attempts_full_disk", "host", "ended_at", postgresql_where=text("\"end\" = 'disk'")
        ),
    )
