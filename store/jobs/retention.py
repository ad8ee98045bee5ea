"""Which checkpoints a job still needs. Deletes rows only; the files are the caller's."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.db import Checkpoint

#: A damaged newest checkpoint falls back to the one before.
KEPT_LAST = 2


def drop_obsolete_checkpoints(session: Session, job_id: int) -> list[str]:
    """Delete the rows of checkpoints that no resume can need; returns their paths."""
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
