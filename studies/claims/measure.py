"""What a statistic of `studies.spec.claims` amounts to, for one job and for the jobs of an arm."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, assert_never

from store.results import LayerSnapshot
from studies.comparison import JobRecord, StudyEvidence
from studies.spec import (
    Combined,
    CurveOf,
    DiagnosticOf,
    Diverged,
    Gain,
    Logarithm,
    MetricOf,
    Spread,
    Statistic,
    StepsToReach,
    Take,
    arm_name,
)
from studies.stats import finite, higher_is_better, score
from trainer.spec import NETWORK

_ERROR = "_error"


#: The jobs of the same seed, by name of the arm.
Peers: TypeAlias = Mapping[str, JobRecord]


def measure_arm(evidence: StudyEvidence, statistic: Statistic, arm: str) -> dict[int, float]:
    """The statistic of each job of an arm that has one, by analysed seed."""
    jobs = evidence.records.get(arm, {})
    seeds = [seed for seed in evidence.seeds if seed in jobs]
    found = {
        seed: measure(statistic, jobs[seed], peers)
        for seed, peers in _find_peers(evidence, seeds).items()
    }
    return {seed: value for seed, value in found.items() if value is not None}


def lower_bounds(
    evidence: StudyEvidence, statistic: Statistic, arm: str, seeds: Iterable[int]
) -> list[int]:
    """At which of these seeds the arm's steps are only a lower bound."""
    jobs = evidence.records.get(arm, {})
    peers = _find_peers(evidence, seeds)
    return [seed for seed, one in peers.items() if is_lower_bound(statistic, jobs[seed], one)]


def _find_peers(evidence: StudyEvidence, seeds: Iterable[int]) -> dict[int, dict[str, JobRecord]]:
    return {
        seed: {name: jobs[seed] for name, jobs in evidence.records.items() if seed in jobs}
        for seed in seeds
    }


def measure(statistic: Statistic, job: JobRecord, peers: Peers) -> float | None:
    """A finite number; None where the job has none: it failed, isn't finished, or didn't record it."""
    # A diverged job has succeeded: it goes on to its best checkpoint, or to chance.
    if job.row.status != "succeeded":
        return None
    match statistic:
        case MetricOf(name=name):
            return _read_metric(job, name)
        case Diverged():
            return float(job.row.reason == "diverged")
        case CurveOf():
            return _read_curve(statistic, job)
        case StepsToReach():
            return _count_steps_to_reach(statistic, job, peers)
        case DiagnosticOf(statistic=name):
            return _read_snapshots(
                job, statistic.layer, statistic, lambda statistics: statistics.get(name)
            )
        case Spread(side=side):
            is_median = statistic.take == "total_variation"
            read = _read_column(f"{side}_p50") if is_median else _read_width(side)
            return _read_snapshots(job, statistic.layer, statistic, read)
        case Combined():
            return _combine(statistic, job, peers)
        case Gain(of=part, over=variant):
            return _measure_gain(part, variant, job, peers)
        case Logarithm(of=part):
            value = measure(part, job, peers)
            return math.log10(value) if value is not None and value > 0 else None
        case _:
            assert_never(statistic)


def is_lower_bound(statistic: Statistic, job: JobRecord, peers: Peers) -> bool:
    """Whether the steps that were measured are too few, since the job never got there."""
    if isinstance(statistic, Logarithm):
        return is_lower_bound(statistic.of, job, peers)
    if not isinstance(statistic, StepsToReach):
        return False
    steps = measure(statistic, job, peers)
    return steps is not None and steps > _count_planned_steps(job)


def chance_after_divergence(job: JobRecord, column: str) -> float | None:
    """What guessing scores, of a diverged job; None of another."""
    if job.row.reason != "diverged":
        return None
    return finite((job.row.facts or {}).get(f"chance_{column.rpartition('_')[2]}"))


def _read_metric(job: JobRecord, name: str) -> float | None:
    if name.endswith(_ERROR):
        accuracy = score(job.row, name.removesuffix(_ERROR) + "_accuracy").value
        return None if accuracy is None else 1 - accuracy
    return score(job.row, name).value


def _read_curve(statistic: CurveOf, job: JobRecord) -> float | None:
    column = statistic.column
    values = [
        (period["step"], finite(period[column]))
        for period in job.curve
        if statistic.step is None or period["step"] <= statistic.step
    ]
    known = [value for _, value in values if value is not None]
    chance = chance_after_divergence(job, column)
    match statistic.take:
        case "best":
            best = max if higher_is_better(column) else min
            return best(known, default=chance)
        # The mean of a curve that broke off would be that of its good part: each period that a diverged job
        # didn't live to see counts as guessing.
        case "mean":
            known += [] if chance is None else [chance] * _count_missing_periods(job)
            return statistics.fmean(known) if known else None
        case "last":
            # After divergence the last evaluation is of broken weights, or from long before: what the network is
            # worth is chance.
            return chance if chance is not None else _take_last(values)
        case "at_step":
            # Before its divergence the job has ordinary values; they count as such.
            is_beyond = chance is not None and _is_beyond(job, statistic.step or 0)
            return chance if is_beyond else _take_last(values)
        case _:
            assert_never(statistic.take)


def _take_last(values: Sequence[tuple[int, float | None]]) -> float | None:
    return values[-1][1] if values else None


def _is_beyond(job: JobRecord, step: int) -> bool:
    """Whether the job had diverged by this step: its last finite evaluation is a period or more earlier."""
    # By the training loss, which is the first to stop being finite.
    alive = [period["step"] for period in job.curve if finite(period["train_loss"]) is not None]
    return step - (alive[-1] if alive else 0) >= _find_period(job)


def _count_missing_periods(job: JobRecord) -> int:
    period, planned = _find_period(job), _count_planned_steps(job)
    alive = sum(finite(one["val_loss"]) is not None for one in job.curve)
    return max(0, math.ceil(planned / period) - alive) if planned else 0


def _find_period(job: JobRecord) -> int:
    return int(job.curve[0]["step"]) if job.curve else 1


def _count_planned_steps(job: JobRecord) -> int:
    facts = job.row.facts or {}
    return int(facts.get("total_steps") or (job.curve[-1]["step"] if job.curve else 0))


def _count_steps_to_reach(statistic: StepsToReach, job: JobRecord, peers: Peers) -> float | None:
    column, value = statistic.column, statistic.value
    # The level to reach is the best of another variant at the same seed, not its mean: the pair shares data order
    # and start.
    if statistic.best_of is not None:
        other = peers.get(statistic.best_of)
        best = CurveOf(kind="curve", column=column, take="best")
        value = None if other is None else measure(best, other, peers)
    if value is None or not job.curve:
        return None
    for period in job.curve:
        reached = finite(period[column])
        if reached is not None and (
            reached >= value if higher_is_better(column) else reached <= value
        ):
            return float(period["step"])
    # Never reached: one period more than was planned, so that such a job ranks behind one that got there at the
    # very end. `is_lower_bound` knows it by this.
    return float(_count_planned_steps(job) + _find_period(job))


Reading: TypeAlias = Callable[[Mapping[str, float | None]], float | None]


def _read_column(name: str) -> Reading:
    return lambda statistics: statistics.get(name)


def _read_width(side: str) -> Reading:
    def width(seen: Mapping[str, float | None]) -> float | None:
        low, high = seen.get(f"{side}_p15"), seen.get(f"{side}_p85")
        return None if low is None or high is None else high - low

    return width


def _read_snapshots(
    job: JobRecord, layer: str, how: DiagnosticOf | Spread, read: Reading
) -> float | None:
    """None as well where a value of the snapshots that it takes isn't finite."""
    by_layer: dict[str, list[float | None]] = {}
    for snapshot in job.snapshots:
        if snapshot.step >= how.from_step:
            by_layer.setdefault(snapshot.layer, []).append(read(snapshot.statistics))
    name = _find_layer(layer, by_layer)
    values = by_layer.get(name, []) if name is not None else []
    match how.take:
        case "first":
            values = values[:1]
        case "last":
            values = values[-1:]
    known = [value for value in values if value is not None]
    return _reduce(how.take, known) if known and len(known) == len(values) else None


def chosen_layer(layer: str, snapshots: Sequence[LayerSnapshot], statistic: str) -> str | None:
    """What `first` and `last` mean among these snapshots, of the layers that have the statistic."""
    found: dict[str, list[float | None]] = {}
    for snapshot in snapshots:
        found.setdefault(snapshot.layer, []).append(snapshot.statistics.get(statistic))
    return _find_layer(layer, found)


def _find_layer(layer: str, found: Mapping[str, Sequence[float | None]]) -> str | None:
    """`first` and `last` among the layers, in the order of the network, that have the statistic."""
    having = [
        name
        for name, values in found.items()
        if name != NETWORK and any(value is not None for value in values)
    ]
    match layer:
        case "first":
            return having[0] if having else None
        case "last":
            return having[-1] if having else None
        case _:
            return layer


def _reduce(take: Take, values: Sequence[float]) -> float | None:
    match take:
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "mean":
            return statistics.fmean(values)
        case "max":
            return max(values)
        case "min":
            return min(values)
        case "spread_ratio":
            # A ratio has a meaning only between positive numbers.
            return max(values) / min(values) if min(values) > 0 else None
        case "total_variation":
            return sum(abs(one - other) for one, other in itertools.pairwise(values))
        case _:
            assert_never(take)


def _measure_gain(part: Statistic, variant: str, job: JobRecord, peers: Peers) -> float | None:
    # The same seed at the same matrix point, so that the gain is a paired difference.
    other = peers.get(arm_name(variant, job.row.point))
    first = None if other is None else measure(part, other, peers)
    second = measure(part, job, peers)
    return None if first is None or second is None else first - second


def _combine(statistic: Combined, job: JobRecord, peers: Peers) -> float | None:
    first, second = (measure(part, job, peers) for part in statistic.of)
    if first is None or second is None:
        return None
    if statistic.kind == "difference":
        return first - second
    return first / second if second else None
