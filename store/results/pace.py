"""How fast finished jobs trained, for estimates of what others will take."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, BigInteger, cast, func, select, true, tuple_
from sqlalchemy.orm import Session

from store.db import Job
from store.hosts import host_views
from store.jobs import usage

#: Only this many of the latest jobs are looked at: the search stays quick, and machines change.
RECENT_JOBS = 20_000
_MOST = 500
_PARAMETERS = ("weight_parameters", "bias_parameters", "norm_parameters")


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A finished training and the seconds per step, evaluations included."""

    spec: Mapping[str, Any]
    device: str | None
    parameters: int | None
    seconds_per_step: float


def finished_jobs(session: Session, networks: Collection[tuple[str, str]]) -> Sequence[FinishedJob]:
    """The latest succeeded trainings of these networks: names of a dataset and a model."""
    named = tuple_(Job.spec["dataset"]["name"].astext, Job.spec["model"]["name"].astext)
    newest = select(func.max(Job.id)).scalar_subquery()
    statement = (
        select(Job.spec, Job.numerics, Job.facts, Job.step, Job.seconds_used)
        .where(
            Job.id > newest - RECENT_JOBS,
            Job.kind == "training",
            Job.status == "succeeded",
            Job.reused_from.is_(None),
            Job.step > 0,
            Job.seconds_used > 0,
            named.in_(networks),
        )
        .order_by(Job.id.desc())
        .limit(_MOST)
    )
    return [
        FinishedJob(
            spec=row.spec,
            device=(row.numerics or {}).get("device"),
            parameters=_parameters(row.facts or {}),
            seconds_per_step=row.seconds_used / row.step,
        )
        for row in session.execute(statement)
    ]


def recent_seconds(session: Session, study_ids: Collection[int]) -> Mapping[int, float]:
    """By study how long the jobs took that it trained last, on average; studies without any are not there."""
    if not study_ids:
        return {}
    ids = func.unnest(cast(list(study_ids), ARRAY(BigInteger))).table_valued("id").render_derived()
    recent = usage.recent_seconds(ids.c.id).lateral("recent")
    mean = func.avg(recent.c.seconds_used)
    statement = select(ids.c.id, mean).select_from(ids).join(recent, true()).group_by(ids.c.id)
    return {study_id: float(seconds) for study_id, seconds in session.execute(statement)}


def slots(session: Session) -> Mapping[str, int]:
    """The slots of all live workers that get jobs, by kind of device."""
    hosts = {worker.host for worker in host_views.workers_view(session) if worker.claims}
    counts: dict[str, int] = {}
    for device in host_views.devices_view(session):
        if device.host in hosts:
            counts[device.kind] = counts.get(device.kind, 0) + device.slots
    return counts


def _parameters(facts: Mapping[str, Any]) -> int | None:
    counts = [facts[name] for name in _PARAMETERS if name in facts]
    return sum(counts) if counts else None
