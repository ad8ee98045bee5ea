"""What deletions have left to remove: files in the storage, and runs in MLflow. Each is asked for until it is done."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from store.db import Dataset, Deletion
from store.jobs import maintenance

AT_ONCE = 50
#: Whoever had begun to draw or decode something has ended by then.
LOOKED_AGAIN_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class LeftFiles:
    """Of one deletion: the files that begin with one of `prefixes`, other than those in `kept`, which others name."""

    id: int
    prefixes: Sequence[str]
    kept: Collection[str]


@dataclass(frozen=True, slots=True)
class LeftRun:
    """Of one deletion: the run of a job or study, or the experiment of a project (`mirrored`)."""

    id: int
    kind: str
    subject_id: int
    mirrored: Mapping[str, Any]


def find_files(session: Session) -> Sequence[LeftFiles]:
    """The oldest; without those of a dataset while another one is being decoded, which may have the same content."""
    rows = session.scalars(
        select(Deletion).where(Deletion.files_at.is_(None)).order_by(Deletion.id).limit(AT_ONCE)
    ).all()
    found = [_files_of(session, row) for row in rows]
    return [one for one in found if one is not None]


def look_again(session: Session) -> int:
    """Once for each deletion, later: a page that was being drawn may have left a file since; how many."""
    settled = Deletion.at + LOOKED_AGAIN_AFTER
    query = update(Deletion).where(Deletion.files_at < settled, settled < func.now())
    return len(session.scalars(query.values(files_at=None).returning(Deletion.id)).all())


def note_files_removed(session: Session, deletion_ids: Collection[int]) -> None:
    _note(session, deletion_ids, Deletion.files_at)


def find_runs(session: Session) -> Sequence[LeftRun]:
    """The oldest; a project after what was in it."""
    rows = session.scalars(
        select(Deletion).where(Deletion.runs_at.is_(None)).order_by(Deletion.id).limit(AT_ONCE)
    )
    return [LeftRun(one.id, one.kind, one.subject_id, one.mirrored or {}) for one in rows]


def note_runs_removed(session: Session, deletion_ids: Collection[int]) -> None:
    _note(session, deletion_ids, Deletion.runs_at)


def _files_of(session: Session, row: Deletion) -> LeftFiles | None:
    match row.kind:
        case "job":
            ids = {row.subject_id, *({row.source_id} if row.source_id is not None else ())}
            # Others may name its files: those that it answered. And its own may be another's, which answered it.
            kept = maintenance.named_paths(session, ids)
            folders = [f"jobs/{one}/" for one in sorted(maintenance.settled_jobs(session, ids))]
            return LeftFiles(row.id, [*folders, f"job_drawings/{row.subject_id}/"], kept)
        case "study":
            return LeftFiles(row.id, [f"studies/{row.subject_id}/"], ())
        case "dataset" if row.digest is not None:
            return _files_of_dataset(session, row)
    return LeftFiles(row.id, (), ())


def _files_of_dataset(session: Session, row: Deletion) -> LeftFiles | None:
    digest = Dataset.info["digest"].astext == row.digest
    if session.scalar(select(exists().where(digest))):
        return LeftFiles(row.id, (), ())
    if session.scalar(select(exists().where(Dataset.status == "registering"))):
        return None
    folder = f"datasets/{row.digest}"
    return LeftFiles(row.id, [f"{folder}/", f"{folder}.files.json"], ())


def _note(session: Session, deletion_ids: Collection[int], column: Any) -> None:
    query = update(Deletion).where(Deletion.id.in_(deletion_ids))
    session.execute(query.values({column: func.clock_timestamp()}))
