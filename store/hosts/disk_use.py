"""What the storage holds, as far as rows name its files, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, case, cast, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from store.db import Checkpoint, File, Job, Study, User


@dataclass(frozen=True, slots=True)
class Stored:
    """So many files, and their bytes together."""

    count: int = 0
    bytes: int = 0


def read_stored(session: Session) -> Mapping[str, Stored]:
    """`checkpoints` and `files` of jobs, and `reports` of studies, with their figures.

    A file that a job shares with the equal one that answered it counts once.
    """
    # By the index of the answered: few, beside all jobs.
    answered = select(Job.id).where(Job.reused_from.is_not(None))
    owner = case((File.study_id.is_not(None), "reports"), else_="files")
    kinds = union_all(
        select(literal("checkpoints").label("kind"), Checkpoint.bytes).where(
            Checkpoint.job_id.not_in(answered)
        ),
        select(owner, File.bytes).where(or_(File.job_id.is_(None), File.job_id.not_in(answered))),
    ).subquery("kinds")
    total = cast(func.coalesce(func.sum(kinds.c.bytes), 0), BigInteger)
    statement = select(kinds.c.kind, func.count(), total).group_by(kinds.c.kind)
    stored = {kind: Stored(count, size) for kind, count, size in session.execute(statement)}
    return {kind: stored.get(kind, Stored()) for kind in ("checkpoints", "files", "reports")}


@dataclass(frozen=True, slots=True)
class Owned:
    """Bytes of a person's jobs and of their studies' reports."""

    checkpoints: int
    files: int

    @property
    def bytes(self) -> int:
        return self.checkpoints + self.files


def describe_bytes(count: float) -> str:
    """`999 B`, `12 kB`, `3 MB`, `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def read_owned(session: Session, user_id: int | None = None) -> Mapping[str, Owned]:
    """Of everybody, or of one person, by name; those without any file are left out.

    Files that a job shares with the equal one that answered it count for the owner of that one only.
    """
    own = Job.reused_from.is_(None)
    parts = union_all(
        select(Job.owner_id, Checkpoint.bytes.label("checkpoints"), literal(0).label("files"))
        .join_from(Checkpoint, Job)
        .where(own),
        select(Job.owner_id, literal(0), File.bytes).join_from(File, Job).where(own),
        select(Study.owner_id, literal(0), File.bytes).join_from(File, Study),
    ).subquery("parts")
    sums = (cast(func.sum(column), BigInteger) for column in (parts.c.checkpoints, parts.c.files))
    statement = (
        select(User.name, *sums).join(User, User.id == parts.c.owner_id).group_by(User.id)
    ).order_by(User.name)
    if user_id is not None:
        statement = statement.where(User.id == user_id)
    return {name: Owned(*sizes) for name, *sizes in session.execute(statement)}
