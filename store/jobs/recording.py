"""Records of a running attempt. Every write is fenced: LostLease once it no longer holds the job."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from store.db import (
    JOBS_CHANNEL,
    Attempt,
    Checkpoint,
    Diagnosis,
    Epoch,
    File,
    Job,
    LogLine,
    lock_attempt,
    mark_changed,
    notify,
    sanitize_text,
    split_finite,
)
from trainer.code_versions import with_generation
from trainer.events import (
    CheckpointSaved,
    Diagnosed,
    EpochFinished,
    EvaluationFinished,
    FileWritten,
    Started,
)

#: The metrics with a column of their own; others go to `extra`.
STANDARD_METRICS = (
    "train_loss", "train_cost", "train_accuracy", "val_loss", "val_accuracy", "learning_rate",
)  # fmt: skip
#: A damaged newest checkpoint falls back to the one before.
KEPT_LAST = 2


def record_start(session: Session, job_id: int, attempt: int, event: Started) -> list[str]:
    """The attempt's first step, its environment and the training's facts; an environment that differs from the
    previous attempt's is a warning.

    Returns the paths of `event.damaged` checkpoints, to be deleted; they are relative to the storage.
    """
    job = lock_attempt(session, job_id, attempt)
    warnings = [*job.warnings, *event.warnings, *_environment_changes(session, job, event)]
    job.warnings = list(dict.fromkeys(warnings))
    job.step = event.first_step
    job.total_steps = event.total_steps
    job.facts = dict(event.facts)
    row = session.get_one(Attempt, (job_id, attempt))
    row.first_step = event.first_step
    row.environment = dict(event.environment)
    # Left there, it would be what the next damaged one falls back to.
    if event.damaged:
        damaged = Checkpoint.path.in_(event.damaged)
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id, damaged))
    mark_changed(session, job)
    return list(event.damaged)


def record_step(session: Session, job_id: int, attempt: int, step: int) -> None:
    """The training's progress; an unchanged step changes nothing."""
    job = lock_attempt(session, job_id, attempt)
    # A change of `changed_at` makes the mirror send the job to MLflow again, so a report without news must
    # not change it. (`record_log` changes nothing either: lines are read from SQL alone.)
    if step != job.step:
        job.step = step
        mark_changed(session, job)


def record_epoch(
    session: Session,
    job_id: int,
    attempt: int,
    event: EpochFinished,
    recorded_at: datetime | None = None,
) -> None:
    record_epochs(session, job_id, attempt, [event], recorded_at)


def record_epochs(
    session: Session,
    job_id: int,
    attempt: int,
    events: Sequence[EpochFinished],
    recorded_at: datetime | None = None,
) -> None:
    """An epoch is recorded once: a later attempt that repeats it after a checkpoint changes nothing."""
    job = lock_attempt(session, job_id, attempt)
    # Rows are parameters, so that a statement for any number of them is compiled once.
    rows = [_epoch_row(job_id, attempt, event) for event in events]
    # An attempt that resumes at a checkpoint repeats the epochs after it, with the same numbers (resume is
    # exact). The first row stays, because it may have been read and sent to MLflow already.
    session.connection().execute(
        postgresql.insert(Epoch)
        .values(recorded_at=recorded_at or func.clock_timestamp())
        .on_conflict_do_nothing(),
        rows,
    )
    job.step = events[-1].step
    mark_changed(session, job)


def _epoch_row(job_id: int, attempt: int, event: EpochFinished) -> dict[str, Any]:
    finite, non_finite = split_finite(event.metrics)
    return {
        "job_id": job_id,
        "attempt": attempt,
        "epoch": event.epoch,
        "step": event.step,
        "seconds": event.seconds,
        "non_finite": non_finite,
        # `pop`: what has a column of its own must not stand in `extra`, too.
        **{name: finite.pop(name, None) for name in STANDARD_METRICS},
        "extra": finite,
    }


def record_diagnosis(
    session: Session,
    job_id: int,
    attempt: int,
    event: Diagnosed,
    recorded_at: datetime | None = None,
) -> None:
    """A diagnosis is recorded once: a later attempt that repeats it after a checkpoint changes nothing."""
    job = lock_attempt(session, job_id, attempt)
    rows: list[dict[str, Any]] = []
    for layer, statistics in event.layers.items():
        finite, non_finite = split_finite(statistics)
        rows.append(
            {
                "job_id": job_id,
                "attempt": attempt,
                "epoch": event.epoch,
                "step": event.step,
                "layer": layer,
                "statistics": finite,
                "non_finite": non_finite,
                "recorded_at": recorded_at or func.clock_timestamp(),
            }
        )
    if rows:
        session.execute(postgresql.insert(Diagnosis).values(rows).on_conflict_do_nothing())
    mark_changed(session, job)


def record_checkpoint(
    session: Session, job_id: int, attempt: int, event: CheckpointSaved
) -> list[str]:
    """Register a checkpoint file; returns the paths of obsolete files, to be deleted.

    `event.path` is relative to the storage. The two newest `last` are kept, and the best that each of
    them would go on from.
    """
    job = lock_attempt(session, job_id, attempt)
    # Training has gone on while the file was written, and may have reported a later step.
    job.step = max(job.step, event.step)
    # Replaced, not updated: the newest row has the highest id.
    session.execute(
        delete(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.path == event.path)
    )
    values = {
        "job_id": job_id,
        "attempt": attempt,
        "kind": event.kind,
        "epoch": event.epoch,
        "step": event.step,
        "path": event.path,
        "digest": event.digest,
        "bytes": event.bytes,
    }
    session.execute(insert(Checkpoint).values(values))
    # Rows before files: the caller deletes the files after the commit. The other way round a rollback would
    # leave rows of files that are gone, and the next attempt would have nothing to resume from.
    obsolete = _drop_obsolete_checkpoints(session, job_id)
    mark_changed(session, job)
    return obsolete


def _drop_obsolete_checkpoints(session: Session, job_id: int) -> list[str]:
    """Delete the rows of checkpoints that no resume can need, not their files; returns the paths."""
    newest = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.id.desc())
    rows = session.scalars(newest).all()
    needed = _needed([row for row in rows if row.kind == "last"][:KEPT_LAST], _best(rows))
    obsolete = [row for row in rows if row.id not in needed]
    if obsolete:
        ids = [row.id for row in obsolete]
        session.execute(delete(Checkpoint).where(Checkpoint.id.in_(ids)))
    return [row.path for row in obsolete]


def _best(rows: Sequence[Checkpoint]) -> Sequence[Checkpoint]:
    return [row for row in rows if row.kind == "best"]


def _needed(last: Sequence[Checkpoint], best: Sequence[Checkpoint]) -> set[int]:
    """The ids of `last`, of the newest best, and of the best that each of `last` refers to."""
    ids = {row.id for row in (*last, *best[:1])}
    for row in last:
        # A `last` checkpoint names its best weights by file and digest, and is not restored without them
        # (`trainer.training.checkpoint`). `best` is newest first, so this is the best at that step.
        referred = next((one for one in best if one.step <= row.step and one.id < row.id), None)
        if referred is not None:
            ids.add(referred.id)
    return ids


def record_evaluation(
    session: Session, job_id: int, attempt: int, event: EvaluationFinished
) -> None:
    """The first committed result stands; file paths are relative to the storage."""
    job = lock_attempt(session, job_id, attempt)
    keep_metrics(job, event.metrics)
    _add_files(session, job_id, event.files)
    mark_changed(session, job)


def record_file(session: Session, job_id: int, attempt: int, event: FileWritten) -> None:
    """A file of the job, its path relative to the storage; the first of a name stands."""
    job = lock_attempt(session, job_id, attempt)
    _add_files(session, job_id, [event])
    mark_changed(session, job)


def record_log(
    session: Session, job_id: int, attempt: int, lines: Sequence[tuple[str, str]]
) -> None:
    """Lines for the job's log, each a level and a text. Announced, but no change of the job."""
    lock_attempt(session, job_id, attempt)
    rows = [
        {"job_id": job_id, "attempt": attempt, "level": level, "text": sanitize_text(text)}
        for level, text in lines
    ]
    if rows:
        session.connection().execute(insert(LogLine), rows)
    notify(session, JOBS_CHANNEL, str(job_id))


def keep_metrics(job: Job, metrics: dict[str, float] | Any) -> None:
    finite, non_finite = split_finite(metrics)
    # Evaluations that a later attempt repeats do not replace what people have read. A name whose value isn't
    # finite is there, too, with None.
    new = {name for name in finite if name not in job.metrics}
    job.metrics = job.metrics | {name: finite[name] for name in new}
    job.non_finite = job.non_finite | {name: non_finite[name] for name in new if name in non_finite}


def _add_files(session: Session, job_id: int, files: Sequence[FileWritten]) -> None:
    rows = [
        {"job_id": job_id, "name": f.name, "path": f.path, "digest": f.digest, "bytes": f.bytes}
        for f in files
    ]
    if rows:
        session.execute(postgresql.insert(File).values(rows).on_conflict_do_nothing())


def _environment_changes(session: Session, job: Job, event: Started) -> list[str]:
    before = session.scalars(
        select(Attempt.environment)
        .where(
            Attempt.job_id == job.id,
            Attempt.number < job.attempt,
            Attempt.environment.is_not(None),
        )
        .order_by(Attempt.number.desc())
        .limit(1)
    ).one_or_none()
    if not before:
        return []
    before, now = with_generation(before), with_generation(event.environment)
    return [
        f"the environment changed before attempt {job.attempt}: "
        f"{name} {before.get(name)} → {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
