"""Stopping bad trials early, replayed over trials that were recorded to their end: what a rule would have saved, and what
it would have lost. `studies.tuning.limits` stops trials by the same rules.

Fair across arms means: a trial is compared with trials of its own arm alone, that have trained as long, and of each arm
the same share is trained to the end, whatever the rule says of them.
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from studies.spec import StopRule

Rule: TypeAlias = Literal["median", "halving", "wilcoxon"]
#: An arm and the number of a trial in it.
TrialId: TypeAlias = tuple[str, int]

#: Fewer peers tell nothing.
ENOUGH_PEERS = 3


@dataclass(frozen=True)
class RecordedTrial:
    """One setting of an arm; `curves`: by seed its metric on validation at each period, the higher the better."""

    arm: str
    number: int
    curves: Mapping[int, Sequence[float]]

    @property
    def id(self) -> TrialId:
        return self.arm, self.number

    @property
    def periods(self) -> int:
        """That all of its seeds have."""
        return min(map(len, self.curves.values()))

    @cached_property
    def progress(self) -> Sequence[float]:
        """After each period the mean over the seeds of their best until then."""
        best = (itertools.accumulate(curve, max) for curve in self.curves.values())
        return [statistics.fmean(several) for several in zip(*best, strict=False)]

    @property
    def value(self) -> float:
        """What it is chosen by: seeds may have stopped after different periods."""
        return statistics.fmean(map(max, self.curves.values()))


@dataclass(frozen=True, slots=True)
class Policy:
    """`median`: worse than the median of its peers at the same period (Golovin et al. 2017). `halving`: not among the best
    1/`factor` of its peers at periods `first`, `first` × `factor`, … (ASHA, Li et al. 2018, arXiv 1810.05934; the form that
    stops). `wilcoxon`: worse than the best trial before it at the same seeds by a Wilcoxon signed-rank test at `level`, asked
    after each seed, as Optuna's WilcoxonPruner does with seeds as instances: it saves seeds, not periods.

    `within_arms`: peers are those of the same arm; `finishers`: of each arm, at least this share of the trials is trained to
    the end. Plain ASHA has neither.
    """

    rule: Rule
    first: int = 1
    factor: int = 3
    level: float = 0.1
    within_arms: bool = True
    finishers: float = 1 / 3

    def most_stopped(self, trials: int) -> int:
        """Of so many of an arm."""
        return math.floor((1 - self.finishers) * trials + 1e-9)

    def limit(self, values: Sequence[float]) -> float | None:
        """Below it is bad, among peers with these values; None where they are too few."""
        if len(values) < ENOUGH_PEERS:
            return None
        if self.rule == "median":
            return statistics.median(values)
        kept = max(1, (len(values) + 1) // self.factor)
        return sorted(values, reverse=True)[kept - 1]

    def rungs(self, periods: int) -> Iterator[int]:
        """After which periods it is asked; not after the last: there is nothing to save there."""
        period = self.first
        while period < periods:
            yield period
            period = period + 1 if self.rule == "median" else period * self.factor


def policy_of(rule: StopRule) -> Policy:
    """As a study says it."""
    return Policy(rule.kind, first=rule.first, factor=rule.reduction, finishers=rule.finishers)


PLAIN_ASHA = Policy("halving", within_arms=False, finishers=0.0)


@dataclass(frozen=True, slots=True)
class Replay:
    """`periods`: trained of each arm, of all seeds; `censored`: trials that were stopped, whose values nobody knows;
    `chosen`: of each arm the best of the others, by its number. An arm without any is not there."""

    periods: Mapping[str, int]
    censored: frozenset[TrialId]
    chosen: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Stop:
    """`reached`: periods of each seed after which it is no peer any more; `trained`: of all seeds."""

    reached: int
    trained: int


def replay(trials: Sequence[RecordedTrial], policy: Policy | None) -> Replay:
    """Trials in the order of their numbers, each compared with those before; None: all are trained to the end."""
    sizes = Counter(other.arm for other in trials)
    periods: Counter[str] = Counter(dict.fromkeys(sizes, 0))
    stopped: Counter[str] = Counter()
    reached: dict[TrialId, int] = {}
    before: list[RecordedTrial] = []
    censored: set[TrialId] = set()
    for trial in sorted(trials, key=lambda other: (other.number, other.arm)):
        stop = None
        if policy is not None and stopped[trial.arm] < policy.most_stopped(sizes[trial.arm]):
            peers = [other for other in before if other.arm == trial.arm or not policy.within_arms]
            stop = next(_list_stops(trial, peers, reached, policy), None)
        if stop is not None:
            stopped[trial.arm] += 1
            censored.add(trial.id)
        reached[trial.id] = trial.periods if stop is None else stop.reached
        periods[trial.arm] += sum(map(len, trial.curves.values())) if stop is None else stop.trained
        before.append(trial)
    return Replay(dict(periods), frozenset(censored), _choose(trials, censored))


def _choose(trials: Sequence[RecordedTrial], censored: set[TrialId]) -> dict[str, int]:
    best: dict[str, RecordedTrial] = {}
    for trial in trials:
        if trial.id not in censored and (
            trial.arm not in best or trial.value > best[trial.arm].value
        ):
            best[trial.arm] = trial
    return {arm: trial.number for arm, trial in best.items()}


def _list_stops(
    trial: RecordedTrial,
    peers: Sequence[RecordedTrial],
    reached: Mapping[TrialId, int],
    policy: Policy,
) -> Iterator[_Stop]:
    """Where the rule would stop it; the first one counts."""
    if policy.rule == "wilcoxon":
        yield from _list_stops_by_seed(trial, peers, reached, policy)
        return
    for period in policy.rungs(trial.periods):
        values = [peer.progress[period - 1] for peer in peers if reached[peer.id] >= period]
        limit = policy.limit(values)
        if limit is not None and trial.progress[period - 1] < limit:
            yield _Stop(period, len(trial.curves) * period)


def _list_stops_by_seed(
    trial: RecordedTrial,
    peers: Sequence[RecordedTrial],
    reached: Mapping[TrialId, int],
    policy: Policy,
) -> Iterator[_Stop]:
    whole = [peer for peer in peers if reached[peer.id] == peer.periods]
    best = max(whole, key=lambda peer: peer.value, default=None)
    gaps: list[float] = []
    trained = 0
    for seed, curve in list(trial.curves.items())[:-1]:
        if best is None or seed not in best.curves:
            return
        gaps.append(max(curve) - max(best.curves[seed]))
        trained += len(curve)
        if is_behind(gaps, policy.level):
            # Without all of its seeds it is no peer of whole ones.
            yield _Stop(0, trained)


def is_behind(gaps: Sequence[float], level: float) -> bool:
    """Whether what is so much better than another at the same seeds, negative where it is worse, is worse by a Wilcoxon
    signed-rank test."""
    from scipy.stats import wilcoxon

    # The test has no answer where nothing differs.
    if len(gaps) < 2 or not any(gaps) or statistics.fmean(gaps) >= 0:
        return False
    return bool(wilcoxon(gaps, alternative="less", zero_method="zsplit").pvalue < level)
