"""What a study's report shows of its jobs beyond their results: curves, snapshots of layers, files."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Float, cast, exists, func, select, tuple_
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

CurveColumn = Literal["train_loss", "train_accuracy", "val_loss", "val_accuracy"]


@dataclass(frozen=True, slots=True)
class LayerSnapshot:
    """What was recorded of one layer of a job at one step; a statistic that isn't finite is None."""

    layer: str
    step: int
    statistics: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One statistic of a layer at one step; None: not finite, or not measured."""

    layer: str
    epoch: int
    step: int
    value: float | None


def curves(
    session: Session, study_id: int, most: int | None = None
) -> dict[int, list[dict[str, Any]]]:
    """By job of the study its evaluation periods, in order: epoch, step, losses and accuracies.

    Where there are more than about `most` of them, of every job only each k-th, the first and the last.
    """
    inside = Epoch.job_id.in_(select(Job.id).where(Job.study_id == study_id))
    count = 0 if most is None else session.scalars(select(func.count()).where(inside)).one()
    # Rounded up, so that at most about `most` are left.
    every = 1 if most is None else -(-count // most)
    statement = select(Epoch.job_id, *_CURVES).where(inside)
    # Thinned in SQL: a study of 100 jobs with 300 periods each need not be sent here to be thrown away. The
    # last period always stays, because a curve must end where the training did.
    if every > 1:
        last = func.max(Epoch.epoch).over(partition_by=Epoch.job_id).label("last")
        rows = select(Epoch.job_id, *_CURVES, last).where(inside).subquery()
        columns = [rows.c[column.key] for column in (Epoch.job_id, *_CURVES)]
        statement = select(*columns).where(
            (rows.c.epoch % every == 0) | (rows.c.epoch == rows.c.last) | (rows.c.epoch == 1)
        )
    periods_by_job: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in session.execute(statement).mappings():
        periods_by_job[row["job_id"]].append(dict(row))
    for periods in periods_by_job.values():
        periods.sort(key=lambda row: int(row["epoch"]))
    return dict(periods_by_job)


def job_curves(
    session: Session, job_ids: Collection[int], column: str, most: int
) -> dict[int, list[float | None]]:
    """By job one column of its evaluation periods, in order; nothing where there are more than `most` of them."""
    statement = (
        select(Epoch.job_id, getattr(Epoch, column))
        .where(Epoch.job_id.in_(job_ids))
        .order_by(Epoch.job_id, Epoch.epoch)
        .limit(most + 1)
    )
    rows = session.execute(statement).all()
    curves: dict[int, list[float | None]] = defaultdict(list)
    for job_id, value in rows if len(rows) <= most else ():
        curves[job_id].append(value)
    return dict(curves)


def thin(
    curves: Mapping[int, Sequence[Mapping[str, Any]]], most: int
) -> dict[int, list[Mapping[str, Any]]]:
    """As `curves` thins them, of curves that were read whole."""
    count = sum(map(len, curves.values()))
    every = -(-count // most)
    return {
        job_id: [
            period
            for period in periods
            if every <= 1
            or period["epoch"] % every == 0
            or period["epoch"] in (1, periods[-1]["epoch"])
        ]
        for job_id, periods in curves.items()
    }


def first_steps(
    session: Session, study_id: int, column: CurveColumn, value: float
) -> dict[int, int]:
    """By job of the study: the optimizer steps at the first evaluation with at least that accuracy, or at
    most that loss; jobs that never got there are not there."""
    curve = getattr(Epoch, column)
    reached = curve <= value if column.endswith("_loss") else curve >= value
    statement = (
        select(Epoch.job_id, func.min(Epoch.step))
        .join(Job, Job.id == Epoch.job_id)
        .where(Job.study_id == study_id, reached)
        .group_by(Epoch.job_id)
    )
    return {job_id: step for job_id, step in session.execute(statement)}


def norm_layers(session: Session, job_ids: Collection[int]) -> dict[int, list[str]]:
    """By job the norms of its first snapshots, in the order of the network; jobs without any are not there."""
    first = (
        select(Diagnosis.job_id, func.min(Diagnosis.step).label("step"))
        .where(Diagnosis.job_id.in_(job_ids))
        .group_by(Diagnosis.job_id)
        .subquery()
    )
    statement = (
        select(Diagnosis.job_id, Diagnosis.layer)
        .join(first, (first.c.job_id == Diagnosis.job_id) & (first.c.step == Diagnosis.step))
        .where(Diagnosis.statistics.has_key("after_p50"))
        .order_by(Diagnosis.id)
    )
    layers: dict[int, list[str]] = defaultdict(list)
    for job_id, layer in session.execute(statement):
        layers[job_id].append(layer)
    return dict(layers)


def layer_snapshots(
    session: Session, layers: Mapping[int, Collection[str]]
) -> dict[int, list[LayerSnapshot]]:
    """By job the snapshots of these of its layers, by step."""
    pairs = [(job_id, layer) for job_id, names in layers.items() for layer in names]
    if not pairs:
        return {}
    chosen = tuple_(Diagnosis.job_id, Diagnosis.layer).in_(pairs)
    return _snapshots(session, chosen, Diagnosis.step, Diagnosis.id)


def has_snapshots(session: Session, job_id: int) -> bool:
    return bool(session.scalar(select(exists().where(Diagnosis.job_id == job_id))))


def snapshot_steps(session: Session, job_id: int, layer: str) -> Sequence[int]:
    """The steps at which this layer was measured, in order."""
    of_layer = (Diagnosis.job_id == job_id, Diagnosis.layer == layer)
    return session.scalars(select(Diagnosis.step).where(*of_layer).order_by(Diagnosis.step)).all()


def statistic(
    session: Session, job_id: int, name: str, layers: Collection[str], steps: Collection[int]
) -> Sequence[Measured]:
    """One statistic of these layers of a job at these steps, by step."""
    value = cast(Diagnosis.statistics[name].astext, Float)
    rows = (
        select(Diagnosis.layer, Diagnosis.epoch, Diagnosis.step, value)
        .where(Diagnosis.job_id == job_id, Diagnosis.layer.in_(layers), Diagnosis.step.in_(steps))
        .order_by(Diagnosis.step)
    )
    return [Measured(*row) for row in session.execute(rows)]


def study_snapshots(session: Session, study_id: int) -> dict[int, list[LayerSnapshot]]:
    """By job of the study the snapshots of all layers, in the order of recording."""
    inside = Diagnosis.job_id.in_(select(Job.id).where(Job.study_id == study_id))
    return _snapshots(session, inside, Diagnosis.id)


def _snapshots(
    session: Session, condition: ColumnElement[bool], *order: ColumnElement[int] | Any
) -> dict[int, list[LayerSnapshot]]:
    statement = (
        select(Diagnosis.job_id, Diagnosis.layer, Diagnosis.step, Diagnosis.statistics)
        .where(condition)
        .order_by(*order)
    )
    snapshots: dict[int, list[LayerSnapshot]] = defaultdict(list)
    for job_id, layer, step, statistics in session.execute(statement):
        snapshots[job_id].append(LayerSnapshot(layer, step, statistics))
    return dict(snapshots)


def job_files(session: Session, study_id: int) -> dict[int, list[File]]:
    """By job of the study its files, by name."""
    statement = (
        select(File)
        .join(Job, Job.id == File.job_id)
        .where(Job.study_id == study_id)
        .order_by(File.job_id, File.name)
    )
    files: dict[int, list[File]] = defaultdict(list)
    for file in session.scalars(statement):
        assert file.job_id is not None
        files[file.job_id].append(file)
    return dict(files)


def dataset_digests(session: Session, study_id: int) -> dict[str, str]:
    """By name of each data set that the study's jobs train on; one that isn't decoded has none."""
    statement = (
        select(Dataset)
        .where(Dataset.id.in_(select(Job.dataset_id).where(Job.study_id == study_id)))
        .order_by(Dataset.name)
    )
    return {row.name: str((row.info or {}).get("digest", "")) for row in session.scalars(statement)}
