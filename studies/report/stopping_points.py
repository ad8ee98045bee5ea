"""Where each early-stopping rule would have ended trainings."""

from collections.abc import Sequence
from dataclasses import dataclass

from studies.report.schemas import JobReport
from trainer.spec import STOPPING_RULES

KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Stop:
    """Of one arm: (epoch, validation loss there) for each job in which the rule said stop."""

    rule: str
    points: tuple[tuple[int, float], ...]
    jobs: int


def stops(jobs: Sequence[JobReport]) -> list[Stop]:
    """Of each rule, and of the epoch whose weights were kept."""
    named = {KEPT: "best_epoch", **{rule: f"stop_epoch_{rule}" for rule in STOPPING_RULES}}
    return [
        Stop(rule, tuple(point for one in jobs if (point := _point(one, metric))), len(jobs))
        for rule, metric in named.items()
    ]


def any_stops(jobs: Sequence[JobReport]) -> bool:
    """Whether any rule would have stopped any of these jobs, but those that are left out of means."""
    found = stops([one for one in jobs if one.left_out is None])
    return any(one.points for one in found if one.rule != KEPT)


def _point(job: JobReport, metric: str) -> tuple[int, float] | None:
    """Where on the job's curve this epoch lies; None where the rule said nothing."""
    wanted = job.metrics.get(metric)
    for epoch, loss in zip(job.curve.epoch, job.curve.val_loss, strict=True):
        if epoch == wanted and loss is not None:
            return epoch, loss
    return None
