"""A claim's statistic at the analysed seeds, and the tests of it and of its opposite.

A claim is the intersection of its parts: its p-value is the largest of theirs (Berger 1982, intersection-
union test); its opposite, the union of the parts' opposites, has the smallest times their number. Both
are one-sided. "Within a margin" is two one-sided tests (Schuirmann 1987).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from studies.claims.measure import lower_bounds, measure_arm
from studies.claims.schemas import ClaimPart, Relation
from studies.comparison import StudyEvidence, shared_overlap
from studies.spec import ENOUGH_SEEDS, Claim
from studies.stats import count, inference, listed


@dataclass(frozen=True, slots=True)
class ClaimTest:
    """A claim before the others are known: `holds` and `opposite` are one-sided p-values, `too_few` what keeps
    the likelier of them from being borne out."""

    claim: Claim
    parts: tuple[ClaimPart, ...]
    values: Mapping[str, Mapping[int, float]]
    blockers: tuple[str, ...]
    holds: float | None
    opposite: float | None
    deviations: tuple[float | None, ...]
    too_few: tuple[str, ...]

    @property
    def p_value(self) -> float | None:
        """Only one of a claim and its opposite can be wrong where the claim is of a margin; where it is of
        a direction both are wrong of no difference at all, and share the error."""
        if self.holds is None or self.opposite is None:
            return None
        smaller = min(self.holds, self.opposite)
        return smaller if self.claim.is_flat else min(1.0, 2 * smaller)

    @property
    def is_opposite(self) -> bool:
        """Whether its opposite is the likelier."""
        return self.holds is not None and self.opposite is not None and self.holds > self.opposite


def apply_tests(evidence: StudyEvidence, claim: Claim) -> ClaimTest:
    """At the analysed seeds."""
    named = list(_list_comparisons(claim))
    arms = dict.fromkeys(
        one for arm, _, reference in named for one in (arm, reference) if isinstance(one, str)
    )
    values = {arm: measure_arm(evidence, claim.statistic, arm) for arm in arms}
    compared = [_compare(evidence, claim, values, *pair) for pair in named]
    parts = tuple(part for part, _ in compared)
    blockers = tuple(_find_blockers(evidence, claim, values))
    p_values = [(part.p_value, part.opposite_p_value) for part in parts]
    known = [(one, other) for one, other in p_values if one is not None and other is not None]
    # One part without a p-value leaves the whole claim without one: an intersection is not known by some of its parts.
    is_known = len(known) == len(parts) and not blockers
    holds = max(one for one, _ in known) if is_known else None
    # The opposite holds as soon as one part's opposite does, so that it has as many chances to be found by luck.
    opposite = min(1.0, len(known) * min(other for _, other in known)) if is_known else None
    is_opposite = holds is not None and opposite is not None and holds > opposite
    return ClaimTest(
        claim,
        parts,
        values,
        blockers,
        holds,
        opposite,
        tuple(deviation for _, deviation in compared),
        tuple(_explain_lower_bounds(evidence, claim, values, is_opposite)),
    )


def _list_comparisons(claim: Claim) -> Iterator[tuple[str, Relation, str | float]]:
    """Each comparison: an arm, how it should stand to the reference, and the reference."""
    chained: tuple[tuple[Relation, tuple[tuple[str, ...], ...]], ...] = (
        ("above", claim.rising),
        ("below", claim.falling),
        ("within", claim.flat),
    )
    for relation, chains in chained:
        for chain in chains:
            for before, after in itertools.pairwise(chain):
                yield after, relation, before
    bounded: tuple[tuple[Relation, Mapping[str, float]], ...] = (
        ("above", claim.above),
        ("below", claim.below),
        ("within", claim.near),
    )
    for relation, bounds in bounded:
        for arm, number in bounds.items():
            yield arm, relation, number


def _compare(
    evidence: StudyEvidence,
    claim: Claim,
    values: Mapping[str, Mapping[int, float]],
    arm: str,
    relation: Relation,
    reference: str | float,
) -> tuple[ClaimPart, float | None]:
    """One part of the claim, and the standard deviation of its differences."""
    gaps = list(_pair_gaps(values, arm, reference))
    names = [name for name in (arm, reference) if isinstance(name, str)]
    compared = [evidence.arms[name] for name in names if name in evidence.arms]
    share = shared_overlap(*compared)
    p_value, opposite = _test_relation(gaps, relation, claim.margin, share)
    part = ClaimPart(
        arm=arm,
        relation=relation,
        reference=reference,
        n=len(gaps),
        difference=inference.mean(gaps),
        interval=inference.t_interval(gaps, overlap=share),
        p_value=p_value,
        opposite_p_value=opposite,
    )
    return part, inference.deviation(gaps)


def _pair_gaps(
    values: Mapping[str, Mapping[int, float]], arm: str, reference: str | float
) -> Iterator[float]:
    for seed, value in values[arm].items():
        other = values[reference].get(seed) if isinstance(reference, str) else reference
        if other is not None:
            yield value - other


def _test_relation(
    gaps: Sequence[float], relation: Relation, margin: float | None, overlap: float
) -> tuple[float | None, float | None]:
    """One-sided: for the relation, and for its opposite."""
    match relation:
        case "above":
            return _test_above_zero(gaps, overlap), _test_above_zero(
                [-gap for gap in gaps], overlap
            )
        case "below":
            return _test_above_zero([-gap for gap in gaps], overlap), _test_above_zero(
                gaps, overlap
            )
        case "within":
            assert margin is not None
            # Not within the margin is beyond it on either side: two chances, hence the factor of two below.
            beyond = [
                _test_above_zero([gap - margin for gap in gaps], overlap),
                _test_above_zero([-gap - margin for gap in gaps], overlap),
            ]
            outside = [one for one in beyond if one is not None]
            within = inference.equivalence_p_value(gaps, margin, overlap=overlap)
            return within, min(1.0, 2 * min(outside)) if outside else None


def _test_above_zero(gaps: Sequence[float], overlap: float) -> float | None:
    """One-sided paired t-test that the mean is above zero; None below `ENOUGH_SEEDS`."""
    both = inference.paired_p_value(gaps, overlap=overlap)
    if both is None:
        return None
    # The two-sided test halves into the side that the mean is on.
    return both / 2 if (inference.mean(gaps) or 0.0) > 0 else 1 - both / 2


def _find_blockers(
    evidence: StudyEvidence, claim: Claim, values: Mapping[str, Mapping[int, float]]
) -> Iterator[str]:
    seeds = evidence.seeds
    for arm, known in values.items():
        if missing := [seed for seed in seeds if seed not in known]:
            yield f"{arm} has no value at {count(len(missing), 'seed')} ({listed(list(map(str, missing)))})"
    if len(seeds) < ENOUGH_SEEDS:
        yield f"{count(len(seeds), 'seed')}: a verdict needs {ENOUGH_SEEDS}"
    open_ones = [one for one in evidence.confounds if one.is_open and one.variant in claim.arms]
    for what in dict.fromkeys(one.what for one in open_ones):
        yield f"its arms differ in {what}, which nothing declared explains"


def _explain_lower_bounds(
    evidence: StudyEvidence,
    claim: Claim,
    values: Mapping[str, Mapping[int, float]],
    is_opposite: bool,
) -> Iterator[str]:
    """A lower bound of the steps bears out that an arm needs more of them, never that it needs fewer."""
    # A job that never reaches the level has its planned steps as a lower bound. The bound is safe where the arm is said
    # to need more steps, and would be a guess where it is said to need fewer.
    low = [
        one for pair in _list_comparisons(claim) for one in _find_claimed_low(*pair, is_opposite)
    ]
    for name in dict.fromkeys(low):
        if bounds := lower_bounds(evidence, claim.statistic, name, values[name]):
            yield f"{name} never gets there at {count(len(bounds), 'seed')} ({listed(list(map(str, bounds)))})"


def _find_claimed_low(
    arm: str, relation: Relation, reference: str | float, is_opposite: bool
) -> Iterator[str]:
    if relation == "within" or (relation == "below") is not is_opposite:
        yield arm
    if isinstance(reference, str) and (
        relation == "within" or (relation == "above") is not is_opposite
    ):
        yield reference
