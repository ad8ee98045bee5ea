"""What the storage holds, as far as rows name its files."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, case, cast, func, literal, select, union_all
from sqlalchemy.orm import Session

from store.db import Checkpoint, File


@dataclass(frozen=True, slots=True)
class Stored:
    """So many files, and their bytes together."""

    count: int = 0
    bytes: int = 0


def read_stored(session: Session) -> Mapping[str, Stored]:
    """`checkpoints` and `files` of jobs, and `reports` of studies, with their figures."""
    owner = case((File.study_id.is_not(None), "reports"), else_="files")
    kinds = union_all(
        select(literal("checkpoints").label("kind"), Checkpoint.bytes),
        select(owner, File.bytes),
    ).subquery("kinds")
    total = cast(func.coalesce(func.sum(kinds.c.bytes), 0), BigInteger)
    statement = select(kinds.c.kind, func.count(), total).group_by(kinds.c.kind)
    stored = {kind: Stored(count, size) for kind, count, size in session.execute(statement)}
    return {kind: stored.get(kind, Stored()) for kind in ("checkpoints", "files", "reports")}
