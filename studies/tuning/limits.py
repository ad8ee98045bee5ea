"""Limits below which a trial of a search is stopped early: fixed when it starts, by trials of earlier batches.

All of those have ended, so that the limits are the same whoever trains the trial, when, and in which attempt.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from store.db import Job
from store.results import result_rows, series
from store.studies import studies
from studies.spec import StudySpec, read_study
from studies.stats import higher_is_better, validation_metric
from studies.tuning.select import group_trials
from studies.tuning.stopping import policy_of
from studies.tuning.trials import STOPPED_PERIOD, Trials, stopped_after
from trainer.events import EpochFinished, Event, Finished

#: Rows of the curves that a trial is compared with, of its arm at its seed.
MOST_PERIODS = 200_000


@dataclass(slots=True)
class TrialStop:
    """Sees the periods of a trial, and says at which it ends.

    `column`: the metric that decides; losses are negated. `limits`: by period, below which the best until then is bad.
    `recorded`: of the periods before this attempt, the best until each.
    """

    column: str
    limits: Mapping[int, float]
    recorded: Sequence[float]
    _best: float | None = None

    def observe(self, event: Event) -> Finished | None:
        """The end of the training, if this period is its last: the same one, resumed or not."""
        if not isinstance(event, EpochFinished):
            return None
        if self._best is None:
            self._best = max(self.recorded[: event.epoch - 1], default=-math.inf)
        self._best = max(self._best, _signed(event.metrics.get(self.column), self.column))
        limit = self.limits.get(event.epoch)
        if limit is None or self._best >= limit:
            return None
        best = {f"best_{self.column}": _signed(self._best, self.column)}
        metrics = {"epochs": event.epoch, "steps": event.step, STOPPED_PERIOD: event.epoch}
        return Finished("early_stopped", metrics | (best if math.isfinite(self._best) else {}))


def read_trial_stop(session: Session, job_id: int) -> TrialStop | None:
    """None of a job that is no trial, or whose study stops none."""
    job = session.get_one(Job, job_id)
    if job.trial is None or job.study_id is None:
        return None
    study = studies.find(session, job.study_id)
    assert study is not None
    spec = read_study(study.spec)
    if spec.search is None or spec.search.stop is None or spec.search.stop.kind == "wilcoxon":
        return None
    trials = group_trials(result_rows.study_rows(session, study.id, trials=True))
    own = next(arm for arm in trials if any(row.job_id == job_id for _, row in arm.jobs))
    number = next(number for number, row in own.jobs if row.job_id == job_id)
    peers = [
        row.job_id
        for before, row in own.jobs
        # One that failed may be trained again while this one is.
        if before < spec.search.batch_of(number)
        and row.seed == job.seed
        and row.status == "succeeded"
    ]
    column = validation_metric(spec.metric).removeprefix("best_")
    rows = series.job_curves(session, [job_id, *peers], column, MOST_PERIODS)
    curves = {peer: _best_by_period(curve, column) for peer, curve in rows.items()}
    limits = _find_limits(spec, own, number, [curves.get(peer, ()) for peer in peers])
    return TrialStop(column, limits, curves.get(job_id, ())) if limits else None


def _find_limits(
    spec: StudySpec, own: Trials, number: int, peers: Sequence[Sequence[float]]
) -> dict[int, float]:
    """`peers`: the curves that the trial of this number is compared with."""
    search = spec.search
    assert search is not None
    assert search.stop is not None
    begin = search.batch_of(number)
    policy = policy_of(search.stop)
    stopped = sum(stopped_after(rows) is not None for _, rows in own.settings[:begin])
    # Each of a batch might be stopped: the first ones may be, until the quota is used up.
    if number - begin >= policy.most_stopped(search.trials) - stopped:
        return {}
    limits = (
        (period, policy.limit([curve[period - 1] for curve in peers if len(curve) >= period]))
        for period in policy.rungs(max(map(len, peers), default=0))
    )
    return {period: limit for period, limit in limits if limit is not None}


def _best_by_period(curve: Sequence[float | None], column: str) -> list[float]:
    """The higher the better; a period that isn't finite is no progress."""
    return list(itertools.accumulate((_signed(value, column) for value in curve), max))


def _signed(value: float | None, column: str) -> float:
    """And back again."""
    if value is None or not math.isfinite(value):
        return -math.inf
    return value if higher_is_better(column) else -value
