"""Progress of a running study: the share done, the time left, the variant that leads on validation."""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from normlab.cli.render.output import duration
from normlab.cli.render.units import scaled
from normlab.client import FINAL

Job = Mapping[str, Any]


def fraction(job: Job) -> float:
    """How much of a job is done, from 0 to 1; early stopping jumps to 1."""
    if job["status"] in FINAL:
        return 1.0
    return min(1.0, job["step"] / job["total_steps"]) if job["total_steps"] else 0.0


def done(jobs: Sequence[Job]) -> float:
    return sum(map(fraction, jobs)) / max(len(jobs), 1)


def seconds_left(jobs: Sequence[Job], now: datetime | None = None) -> float | None:
    """At the pace since the first of them was claimed; None before any of it is done, or where all is."""
    starts = [datetime.fromisoformat(job["started_at"]) for job in jobs if job.get("started_at")]
    share = done(jobs)
    if not starts or not 0 < share < 1:
        return None
    # Waiting in the queue is no pace: from the first start on.
    passed = ((now or datetime.now(UTC)) - min(starts)).total_seconds()
    return max(0.0, passed * (1 - share) / share)


def ahead(jobs: Sequence[Job]) -> str | None:
    """`group 98.31 % (n=5)`: the arm with the best mean on validation over its finished jobs; an arm that
    diverged before any checkpoint has no mean, so that none leads by its survivors. Arms of one study only: the
    pretraining that they begin from is none of them."""
    if len({job["study_id"] for job in jobs}) > 1:
        return None
    arms: dict[str, list[float]] = {}
    higher = any("best_val_accuracy" in job["metrics"] for job in jobs)
    metric = "best_val_accuracy" if higher else "best_val_loss"
    for job in jobs:
        if job["status"] == "succeeded" and not _is_pretraining(job):
            value = job["metrics"].get(metric)
            # NaN makes the arm's whole mean NaN, by which it is left out below: an arm must not lead by the seeds
            # that survived.
            arms.setdefault(arm_of(job), []).append(math.nan if value is None else value)
    means = {name: statistics.fmean(values) for name, values in arms.items()}
    ranked = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if len(means) < 2 or not ranked:
        return None
    best = (max if higher else min)(ranked, key=ranked.__getitem__)
    unit = " %" if higher else ""
    return f"{best} {scaled(ranked[best], metric)}{unit} (n={len(arms[best])})"


def _is_pretraining(job: Job) -> bool:
    # An arm that has nothing to tune tries an empty setting, too.
    return job.get("trial") == {} and job["variant"] == "pretraining"


def arm_of(job: Job) -> str:
    """A job's variant and matrix point."""
    point = ", ".join(f"{path}={value}" for path, value in (job["point"] or {}).items())
    return " ".join(part for part in (job["variant"] or f"j{job['id']}", point) if part)


def outlook(jobs: Sequence[Job], now: datetime | None = None) -> str:
    """`about 3m left · ahead on validation: group 98.31 % (n=5)`; empty while nothing can be said."""
    left, leader = seconds_left(jobs, now), ahead(jobs)
    parts = [
        f"about {duration(left)} left" if left is not None else "",
        f"ahead on validation: {leader}" if leader else "",
    ]
    return " · ".join(part for part in parts if part)
