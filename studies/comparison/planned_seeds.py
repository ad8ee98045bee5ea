"""What was fixed before anybody saw a result, and which seeds a verdict may therefore rest on."""

from collections.abc import Sequence
from dataclasses import dataclass

from studies.comparison.arms import Arm
from studies.spec import StudySpec


@dataclass(frozen=True, slots=True)
class Analysis:
    """`seeds`: those that are analysed, in order; `looks`: how many seeds each look taken so far has, the
    present one last; `is_exploratory`: the study has grown without having said so beforehand."""

    seeds: tuple[int, ...]
    looks: tuple[int, ...]
    is_exploratory: bool
    planned: int


def plan_analysis(study: StudySpec, arms: Sequence[Arm], planned: Sequence[int] | None) -> Analysis:
    """`planned`: the seeds that the study was submitted with; None: all that it has."""
    seeds = list(study.seed_list)
    trained = sorted({seed for arm in arms for seed in arm.rows} - set(seeds))
    seeds += trained
    count = len(seeds if planned is None else planned)
    if not study.looks:
        extended = planned is not None and not set(seeds) <= set(planned)
        return Analysis(tuple(seeds), (), extended, count)
    taken = [look for look in study.looks if is_complete(arms, seeds[:look], look)]
    # A look is taken once the ones before it are: seeds are complete from the first on.
    chosen = seeds[: taken[-1]] if taken else seeds
    return Analysis(tuple(chosen), tuple(taken), len(seeds) not in study.looks, study.looks[-1])


def is_complete(arms: Sequence[Arm], seeds: Sequence[int], look: int) -> bool:
    """Whether there are so many seeds and every arm has a value at each."""
    return len(seeds) == look and all(seed in arm.values for arm in arms for seed in seeds)
