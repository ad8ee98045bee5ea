"""What a study's verdicts and figure rest on, and what a statistic amounts to over it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from studies.claims.measure import Record, is_lower_bound, measure
from studies.comparison import Analysis, Arm, Confound
from studies.spec import Statistic, StudySpec


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdicts rest on: `records` by arm and seed; `arms` as the comparison groups them."""

    study: StudySpec
    arms: Mapping[str, Arm]
    records: Mapping[str, Mapping[int, Record]]
    analysis: Analysis
    confounds: tuple[Confound, ...] = ()


def measured(evidence: Evidence, statistic: Statistic, arm: str) -> dict[int, float]:
    """The statistic of each job of an arm that has one, by analysed seed."""
    jobs = evidence.records.get(arm, {})
    seeds = [seed for seed in evidence.analysis.seeds if seed in jobs]
    found = {
        seed: measure(statistic, jobs[seed], peers)
        for seed, peers in _peers(evidence, seeds).items()
    }
    return {seed: value for seed, value in found.items() if value is not None}


def lower_bounds(
    evidence: Evidence, statistic: Statistic, arm: str, seeds: Iterable[int]
) -> list[int]:
    """At which of these seeds the arm's steps are only a lower bound."""
    jobs = evidence.records.get(arm, {})
    peers = _peers(evidence, seeds)
    return [seed for seed, one in peers.items() if is_lower_bound(statistic, jobs[seed], one)]


def _peers(evidence: Evidence, seeds: Iterable[int]) -> dict[int, dict[str, Record]]:
    return {
        seed: {name: jobs[seed] for name, jobs in evidence.records.items() if seed in jobs}
        for seed in seeds
    }
