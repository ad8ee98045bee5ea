"""The verdicts on studies' claims, stored once their jobs have ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, joinedload

from store.db import (
    FINAL_STATUSES,
    JOBS_CHANNEL,
    File,
    Job,
    Mirrored,
    Study,
    Verdict,
    notify,
    sanitize_text,
)
from store.studies import studies


@dataclass(frozen=True, slots=True)
class Kept:
    """One claim's verdict: the columns that are queried, and the whole document."""

    claim: str
    verdict: str
    n: int
    p_value: float | None
    p_adjusted: float | None
    sentence: str
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a study in the storage; `path` relative to it."""

    name: str
    path: str
    digest: str
    bytes: int


def due(session: Session, most: int) -> Sequence[Study]:
    """Studies with claims whose jobs have all ended, and of which something has changed since they were
    judged; with owner and project."""
    jobs = select(func.max(Job.changed_at)).where(Job.study_id == Study.id).scalar_subquery()
    going_on = exists().where(Job.study_id == Study.id, Job.status.not_in(FINAL_STATUSES))
    statement = (
        select(Study)
        .options(joinedload(Study.owner), joinedload(Study.project))
        .where(
            func.jsonb_array_length(func.coalesce(Study.spec["claims"], text("'[]'::jsonb"))) > 0,
            ~going_on,
            Study.judged_at.is_(None) | (Study.judged_at < jobs),
        )
        .order_by(Study.id)
        .limit(most)
    )
    return session.scalars(statement).all()


def keep(
    session: Session, judged: Study, at: datetime, found: Sequence[Kept], files: Sequence[KeptFile]
) -> bool:
    """Replaces what was there; MLflow gets them again. `judged`: the study as it was `at` that time,
    when the verdicts were found; if a difference was declared since, nothing is kept."""
    study_id = judged.id
    if studies.lock(session, study_id).declared != judged.declared:
        return False
    session.execute(delete(Verdict).where(Verdict.study_id == study_id))
    session.add_all(
        Verdict(
            study_id=study_id,
            number=number,
            claim=one.claim,
            verdict=one.verdict,
            n=one.n,
            p_value=one.p_value,
            p_adjusted=one.p_adjusted,
            sentence=sanitize_text(one.sentence),
            answer=one.answer,
        )
        for number, one in enumerate(found)
    )
    session.execute(delete(File).where(File.study_id == study_id))
    session.add_all(
        File(study_id=study_id, name=f.name, path=f.path, digest=f.digest, bytes=f.bytes)
        for f in files
    )
    set_aside(session, study_id, at)
    # Its tags, not its files: those are drawn of the jobs, and show the same verdicts.
    session.execute(update(Mirrored).where(Mirrored.study_id == study_id).values(seen_at=None))
    notify(session, JOBS_CHANNEL, "")
    return True


def set_aside(session: Session, study_id: int, at: datetime) -> None:
    """The study is not due until one of its jobs changes after `at`, or a difference is declared."""
    session.execute(update(Study).where(Study.id == study_id).values(judged_at=at))


def retry_failed(session: Session) -> None:
    """Studies that could not be judged are due again: the program that judges them may be a newer version."""
    has_verdict = exists().where(Verdict.study_id == Study.id)
    set_aside = Study.judged_at.is_not(None)
    session.execute(update(Study).where(set_aside, ~has_verdict).values(judged_at=None))


def of_studies(session: Session, study_ids: Sequence[int]) -> dict[int, list[Verdict]]:
    """By study its verdicts, in the order of its claims."""
    groups: dict[int, list[Verdict]] = {study_id: [] for study_id in study_ids}
    statement = select(Verdict).where(Verdict.study_id.in_(study_ids))
    for one in session.scalars(statement.order_by(Verdict.study_id, Verdict.number)):
        groups[one.study_id].append(one)
    return groups


def newest_runs(session: Session) -> dict[str, Study]:
    """By preset the run that says most, with owner and project: the newest one with verdicts, of toy scale only where
    there is no other; where none has verdicts, the newest."""
    # As in the index, which serves the condition.
    name: ColumnElement[str] = literal_column("(studies.preset ->> 'name')")
    is_toy = literal_column("(studies.preset ->> 'scale')") == literal_column("'toy'")
    is_judged = exists().where(Verdict.study_id == Study.id)
    chosen = (
        select(Study.id)
        .ext(distinct_on(name))
        .where(Study.preset.is_not(None), Study.archived_at.is_(None))
        .order_by(name, is_judged.desc(), is_toy, Study.id.desc())
    )
    statement = (
        select(Study)
        .options(joinedload(Study.owner), joinedload(Study.project))
        .where(Study.id.in_(chosen))
    )
    runs = session.scalars(statement).all()
    return {run.preset["name"]: run for run in runs if run.preset is not None}


def files_of(session: Session, study_id: int) -> Sequence[File]:
    """The study's own files, by name."""
    return session.scalars(select(File).where(File.study_id == study_id).order_by(File.name)).all()
