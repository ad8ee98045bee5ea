"""Checkpoints of other jobs that jobs begin from (`init_from`): found at submission, and there until they are needed."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, select
from sqlalchemy.orm import Session

from store.access import EVERYTHING
from store.db import FINAL_STATUSES, Checkpoint, Dataset, InUse, Job, NotFound, WrongStatus
from trainer.events import CheckpointSaved
from trainer.spec import InitFrom, JobSpec


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """A checkpoint's digest and epoch; what its job trained, and on what, as documents."""

    digest: str
    epoch: int
    spec: Mapping[str, Any]
    info: Mapping[str, Any]


def find(session: Session, wanted: InitFrom) -> InitialWeights:
    """Of a job that the session's reader may read. Raises NotFound or WrongStatus."""
    job = session.get(Job, wanted.job)
    if job is None or job.kind != "training":
        raise NotFound(f"there is no job {wanted.job}")
    # Only then nothing of it changes any more: a job that failed may be retried.
    if job.status != "succeeded":
        raise WrongStatus(
            f"job {wanted.job} is {job.status}: its weights are there once it has succeeded"
        )
    row = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.job_id == job.id, Checkpoint.kind == wanted.checkpoint)
        .order_by(Checkpoint.id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        gone = "; it may have been removed, as those of long ago are" * (
            wanted.checkpoint == "last"
        )
        raise NotFound(f"job {wanted.job} has no {wanted.checkpoint} checkpoint{gone}")
    info = session.get_one(Dataset, job.dataset_id).info
    assert info is not None
    return InitialWeights(row.digest, row.epoch, job.spec, info)


def keep(session: Session, specs: Iterable[JobSpec]) -> None:
    """Before their jobs are inserted, in the same transaction: from now on the checkpoints stay. Raises NotFound."""
    wanted = {one.init_from for one in specs if one.init_from is not None}
    ids = sorted({one.job for one in wanted})
    if not ids:
        return
    # What deletes jobs and checkpoints locks them, and sees the new jobs after it has waited for this.
    lock = select(Job.id).where(Job.id.in_(ids)).order_by(Job.id)
    session.execute(lock.with_for_update(read=True, key_share=True))
    for one in wanted:
        if read(session, one) is None:
            raise NotFound(
                f"the {one.checkpoint} checkpoint of job {one.job} has just been removed"
            )


def read(session: Session, wanted: InitFrom) -> CheckpointSaved | None:
    """The one with the digest, if it is there; its path relative to the storage. To whom it is readable was asked when
    the job was submitted."""
    statement = select(Checkpoint).where(
        Checkpoint.job_id == wanted.job, Checkpoint.digest == wanted.digest
    )
    options = {EVERYTHING: True}
    row = session.scalars(statement.limit(1), execution_options=options).one_or_none()
    if row is None:
        return None
    return CheckpointSaved(wanted.checkpoint, row.epoch, row.step, row.path, row.digest, row.bytes)


# As a table: what somebody may not read awaits it, too.
_WAITING = Job.__table__.alias("waiting")
_SOURCE = _WAITING.c.spec["init_from"]["job"].astext.cast(BigInteger)
_GOES_ON = _WAITING.c.status.not_in(FINAL_STATUSES)


def is_awaited(job_id: Any) -> ColumnElement[bool]:
    """Whether a job that has not ended is to begin from a checkpoint of this one."""
    return select(_WAITING.c.id).where(_GOES_ON, job_id == _SOURCE).exists()


def ensure_not_awaited(session: Session, job_ids: Collection[int]) -> None:
    """Raises InUse."""
    awaited = select(_WAITING.c.id, _SOURCE).where(_GOES_ON, _SOURCE.in_(job_ids))
    row = session.execute(awaited.order_by(_WAITING.c.id).limit(1)).first()
    if row is not None:
        raise InUse(f"job {row[0]} has not ended and begins from the weights of job {row[1]}")
