"""The jobs that a leaderboard ranks, with the digests that group them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, case, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.orm import Session

from store.catalog import is_archived
from store.db import FINAL_STATUSES, Dataset, Job, Project, Study

#: Parts of a spec that make no other entry: the same training at another seed, elsewhere, by another user.
_SHARED = ("seed", "project", "resources")


@dataclass(frozen=True, slots=True)
class RankedJob:
    """A job that takes part in a leaderboard.

    `entry`: a digest of the spec but for its seed, project and resources; `dataset`, `task`: those parts of
    the spec, the split's seed left out where splits are resampled; `data`: the digest of the dataset.
    """

    job_id: int
    study_id: int | None
    name: str
    seed: int
    status: str
    reason: str | None
    metrics: Mapping[str, float | None]
    facts: Mapping[str, Any] | None
    entry: str
    dataset: dict[str, Any]
    task: dict[str, Any]
    data: str | None


def finished_jobs(
    session: Session, *, project: str | None = None, dataset: str | None = None
) -> list[RankedJob]:
    """Jobs that have ended (not by being cancelled) and aren't archived, in the order in which they were made."""
    entry: ColumnElement[Any] = Job.spec.expression
    for part in _SHARED:
        entry = entry.op("-", return_type=JSONB())(part)
    # Where the seed cuts the data, the cut is no other entry and no other board.
    resampled = Study.spec["splits"].astext == "resampled"
    entry = case(
        (resampled, entry.op("#-", return_type=JSONB())(array(["dataset", "split_seed"]))),
        else_=entry,
    )
    cut = Job.spec["dataset"].op("-", return_type=JSONB())("split_seed")
    statement = (
        select(
            Job.id.label("job_id"),
            Job.study_id,
            Job.name,
            Job.seed,
            Job.status,
            Job.reason,
            Job.metrics,
            Job.facts,
            # jsonb writes its keys in one order, so equal specs have equal texts. The digest spares the
            # transfer of every job's spec; it guards nothing, hence md5.
            func.md5(cast(entry, Text)).label("entry"),
            case((resampled, cut), else_=Job.spec["dataset"]).label("dataset"),
            Job.spec["task"].label("task"),
            Dataset.info["digest"].astext.label("data"),
        )
        .join(Dataset, Dataset.id == Job.dataset_id)
        .outerjoin(Project, Project.id == Job.project_id)
        .outerjoin(Study, Study.id == Job.study_id)
        .where(
            Job.kind == "training",
            Job.status.in_(FINAL_STATUSES),
            Job.status != "cancelled",
            ~is_archived(),
            Job.trial.is_(None),
        )
        .order_by(Job.id)
    )
    if project is not None:
        statement = statement.where(Project.name == project)
    if dataset is not None:
        statement = statement.where(Dataset.name == dataset)
    return [RankedJob(**row) for row in session.execute(statement).mappings()]
