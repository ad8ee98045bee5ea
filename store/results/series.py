"""What a study's report shows of its jobs beyond their results: curves, looks inside, files. Only reads."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.db import Dataset, Diagnosis, Epoch, File, Job

_CURVES = (
    Epoch.epoch,
    Epoch.step,
    Epoch.train_loss,
    Epoch.train_accuracy,
    Epoch.val_loss,
    Epoch.val_accuracy,
)


def curves(session: Session, study_id: int, most: int) -> dict[int, list[dict[str, Any]]]:
    """By job of the study its evaluation periods, in order: epoch, step, losses and accuracies.

    Where there are more than about `most` of them, of every job only each k-th and the last.
    """
    inside = Epoch.job_id.in_(select(Job.id).where(Job.study_id == study_id))
    count = session.scalars(select(func.count()).where(inside)).one()
    every = -(-count // most)
    statement = select(Epoch.job_id, *_CURVES).where(inside)
    if every > 1:
        last = func.max(Epoch.epoch).over(partition_by=Epoch.job_id).label("last")
        rows = select(Epoch.job_id, *_CURVES, last).where(inside).subquery()
        columns = [rows.c[column.key] for column in (Epoch.job_id, *_CURVES)]
        statement = select(*columns).where(
            (rows.c.epoch % every == 0) | (rows.c.epoch == rows.c.last) | (rows.c.epoch == 1)
        )
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in session.execute(statement).mappings():
        found[row["job_id"]].append(dict(row))
    for periods in found.values():
        periods.sort(key=lambda row: int(row["epoch"]))
    return dict(found)


def norm_layers(session: Session, job_id: int) -> list[str]:
    """The norms that were looked at in this job, in the order of the network."""
    first = select(func.min(Diagnosis.step)).where(Diagnosis.job_id == job_id).scalar_subquery()
    statement = select(Diagnosis.layer).where(
        Diagnosis.job_id == job_id,
        Diagnosis.step == first,
        Diagnosis.statistics.has_key("after_p50"),
    )
    return list(session.scalars(statement.order_by(Diagnosis.id)))


def looks(session: Session, job_id: int, layers: Collection[str]) -> Sequence[Diagnosis]:
    """Into these layers of the job, by step."""
    statement = select(Diagnosis).where(Diagnosis.job_id == job_id, Diagnosis.layer.in_(layers))
    return session.scalars(statement.order_by(Diagnosis.step, Diagnosis.id)).all()


def study_looks(session: Session, study_id: int) -> dict[int, list[Diagnosis]]:
    """By job of the study all that was seen inside its network, in the order of recording."""
    inside = Diagnosis.job_id.in_(select(Job.id).where(Job.study_id == study_id))
    found: dict[int, list[Diagnosis]] = defaultdict(list)
    for look in session.scalars(select(Diagnosis).where(inside).order_by(Diagnosis.id)):
        found[look.job_id].append(look)
    return dict(found)


def job_files(session: Session, study_id: int) -> dict[int, list[File]]:
    """By job of the study its files, by name."""
    statement = (
        select(File)
        .join(Job, Job.id == File.job_id)
        .where(Job.study_id == study_id)
        .order_by(File.job_id, File.name)
    )
    found: dict[int, list[File]] = defaultdict(list)
    for file in session.scalars(statement):
        assert file.job_id is not None
        found[file.job_id].append(file)
    return dict(found)


def dataset_digests(session: Session, study_id: int) -> dict[str, str]:
    """By name of each data set that the study's jobs train on; one that isn't decoded has none."""
    statement = (
        select(Dataset)
        .where(Dataset.id.in_(select(Job.dataset_id).where(Job.study_id == study_id)))
        .order_by(Dataset.name)
    )
    return {row.name: str((row.info or {}).get("digest", "")) for row in session.scalars(statement)}
