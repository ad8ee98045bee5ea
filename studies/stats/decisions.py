"""What is decided of a study's comparisons, over the looks that were taken: the one function that does so, in the service
and in simulations of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from studies.spec import Spending
from studies.stats.group_sequential import sequential_holm
from studies.stats.inference import equivalence_p_value, holm, mean, paired_p_value

#: Of the arm's metric, beside the baseline's.
Outcome: TypeAlias = Literal["higher", "lower", "equivalent", "undecided"]
#: Of each comparison, its paired differences.
Gaps: TypeAlias = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Design:
    """What was fixed before anybody saw a result. `looks`: seeds, all that were declared, some may lie ahead; without any,
    the study is analysed once."""

    looks: tuple[int, ...] = ()
    spending: Spending = "obrien_fleming"
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """Of one comparison. p-values are Holm's, over the seeds of the last look taken; None without a test, or a margin."""

    outcome: Outcome
    p_adjusted: float
    equivalence_p_value: float | None


def decide_comparisons(
    design: Design, gaps_by_look: Sequence[Gaps], overlaps: Sequence[float]
) -> list[Ruling]:
    """`gaps_by_look`: at each look that was taken, the present one last; `overlaps`: of each comparison, as in
    `inference.t_interval`.

    Holm's procedure is run at every look, over the seeds that there were then. What an earlier look rejected stays
    rejected: the level that it spent cannot be spent again. What can't be tested stays in the family, as what no test would
    reject.
    """
    # Two families, each corrected by itself at 5 %: that there is no difference, and that the difference reaches beyond the
    # margin. One comparison may be rejected in both, if the difference is there and too small to matter.
    adjusted, rejected = _apply_holm(design, gaps_by_look, overlaps, paired_p_value)
    margin = design.margin
    if margin is None:
        equal: Sequence[float | None] = [None] * len(adjusted)
        equivalent: Sequence[int | None] = [None] * len(adjusted)
    else:

        def test(gaps: Sequence[float], *, overlap: float) -> float | None:
            return equivalence_p_value(gaps, margin, overlap=overlap)

        equal, equivalent = _apply_holm(design, gaps_by_look, overlaps, test)
    return [
        Ruling(
            _choose_outcome([gaps[number] for gaps in gaps_by_look], look, equivalent[number]),
            adjusted[number],
            equal[number],
        )
        for number, look in enumerate(rejected)
    ]


def _apply_holm(
    design: Design,
    gaps_by_look: Sequence[Gaps],
    overlaps: Sequence[float],
    test: Callable[..., float | None],
) -> tuple[list[float], list[int | None]]:
    """p-values after Holm at the present look, and at which look each comparison is rejected."""
    # What can't be tested keeps its place in the family as p = 1: the others must not profit from its absence.
    p_values = [
        [
            1.0 if (p := test(gaps, overlap=overlap)) is None else p
            for gaps, overlap in zip(by_comparison, overlaps, strict=True)
        ]
        for by_comparison in gaps_by_look
    ]
    # A study without declared looks is analysed once, at all its seeds, where the whole level may be spent.
    looks = design.looks or (1,)
    # For reading only: the p-values of the present look, corrected as if it were the only one. What is rejected follows from
    # each look's own level: with looks at 8 and 16 seeds about 0.3 % and 4.8 %.
    return holm(p_values[-1]), sequential_holm(p_values, looks, spending=design.spending)


def _choose_outcome(gaps_by_look: Gaps, rejected: int | None, equivalent: int | None) -> Outcome:
    """A difference that is surely smaller than what matters is none, however surely it is there."""
    # With a margin of 2 points, +0.3 points at p < 0.001 is equivalent: certainly there, and no reason to prefer
    # either variant.
    if equivalent is not None:
        return "equivalent"
    if rejected is None:
        return "undecided"
    # A two-sided test rejects "no difference" without saying in which direction. Today's sign must not be read into the
    # rejection of an earlier look: had the mean turned from -1 to +0.2 points since, the variant would be called better on
    # the strength of seeds at which it was worse.
    then, now = mean(gaps_by_look[rejected]) or 0.0, mean(gaps_by_look[-1]) or 0.0
    if then * now <= 0:
        return "undecided"
    return "higher" if now > 0 else "lower"
