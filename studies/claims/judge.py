"""From a study's claims and its jobs to their verdicts.

A claim is never borne out by a bare mean: Holm's correction over the claims of the study decides at 5 %, two-sided, inside
each look where looks were declared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from store.db import Study
from studies.claims.schemas import ArmValue, ClaimVerdict, Verdict
from studies.claims.testing import ClaimTest, apply_tests
from studies.claims.wording import sentence, unit_of
from studies.comparison import StudyEvidence, read_evidence
from studies.stats import group_sequential, inference


def read_claims(session: Session, study: Study) -> tuple[ClaimVerdict, ...]:
    """Of the study as it is now; none where it claims nothing."""
    if not study.spec.get("claims"):
        return ()
    return judge_claims(read_evidence(session, study, with_records=True))


def judge_claims(evidence: StudyEvidence) -> tuple[ClaimVerdict, ...]:
    """In the order of the study."""
    if not evidence.study.claims:
        return ()
    tested = [apply_tests(evidence, claim) for claim in evidence.study.claims]
    # What can't be tested stays in the family with the largest p-value: were it left out, a study would get easier
    # levels for its other claims by losing jobs of this one.
    adjusted = inference.holm(_list_p_values(tested))
    return tuple(
        _make_verdict(evidence, one, p_adjusted, is_rejected=is_rejected)
        for one, p_adjusted, is_rejected in zip(
            tested, adjusted, _apply_holm(evidence, tested), strict=True
        )
    )


def are_open(evidence: StudyEvidence) -> bool:
    """Whether more seeds might decide a claim that is undecided at the present look, whatever withholds its verdict: what is
    declared later changes no statistic."""
    verdicts = judge_claims(replace(evidence, confounds=()))
    return any(one.verdict == "undecided" and one.p_value is not None for one in verdicts)


def _list_p_values(tested: Sequence[ClaimTest]) -> list[float]:
    return [1.0 if one.p_value is None else one.p_value for one in tested]


def _apply_holm(evidence: StudyEvidence, tested: Sequence[ClaimTest]) -> Iterator[bool]:
    """Whether each claim or its opposite is borne out, at this look or an earlier one; `tested`: at the present one."""
    design = evidence.design
    earlier = [
        [apply_tests(replace(evidence, seeds=evidence.seeds[:look]), one.claim) for one in tested]
        for look in evidence.taken_looks[:-1]
    ]
    by_look = [*earlier, tested]
    rejected = group_sequential.sequential_holm(
        [_list_p_values(several) for several in by_look],
        # Without declared looks claims are judged once, where the whole level may be spent.
        design.looks or (1,),
        spending=design.spending,
    )
    for number, look in enumerate(rejected):
        # What was borne out at an earlier look and has turned to its opposite since is borne out no more.
        yield (look is not None and by_look[look][number].is_opposite == tested[number].is_opposite)


def _make_verdict(
    evidence: StudyEvidence, tested: ClaimTest, p_adjusted: float, *, is_rejected: bool
) -> ClaimVerdict:
    claim = tested.claim
    found = _decide(tested, is_rejected=is_rejected)
    needed = _estimate_seeds(evidence, tested) if found == "undecided" else None
    arms = tuple(_summarize_arm(evidence, arm, known) for arm, known in tested.values.items())
    verdict = ClaimVerdict(
        name=claim.name,
        says=claim.says,
        paper=claim.paper,
        verdict=found,
        sentence="",
        reasons=(*tested.blockers, *(tested.too_few if found == "undecided" else ())),
        is_exploratory=evidence.is_exploratory,
        n=len(evidence.seeds),
        margin=claim.margin,
        p_value=tested.p_value,
        p_adjusted=None if tested.p_value is None else p_adjusted,
        seeds_needed=needed,
        unit=unit_of(claim),
        parts=tested.parts,
        arms=arms,
    )
    return verdict.model_copy(update={"sentence": sentence(verdict, len(evidence.study.claims))})


def _decide(tested: ClaimTest, *, is_rejected: bool) -> Verdict:
    # Holm's correction has to be passed before anything else: a claim and its opposite share this one p-value.
    if tested.holds is None or tested.opposite is None or not is_rejected:
        return "undecided"
    # Significant, but by numbers that are only bounds: neither the claim nor its opposite is borne out.
    if tested.too_few:
        return "undecided"
    if tested.is_opposite:
        return "does not hold"
    return "equivalent" if tested.claim.is_flat else "holds"


def _summarize_arm(evidence: StudyEvidence, arm: str, known: Mapping[int, float]) -> ArmValue:
    values = list(known.values())
    compared = evidence.arms.get(arm)
    share = compared.overlap if compared else 0.0
    return ArmValue(
        arm=arm,
        n=len(values),
        mean=inference.mean(values),
        interval=inference.t_interval(values, overlap=share),
        values=dict(known),
    )


def _estimate_seeds(evidence: StudyEvidence, tested: ClaimTest) -> int | None:
    """For the part that needs most, at the level that Holm asks of the smallest p-value; None where that
    is not to be had, or something else is in the way."""
    if tested.p_value is None or tested.too_few:
        return None
    level, design = inference.LEVEL / len(evidence.study.claims), evidence.design
    if design.looks:
        # What is left of it for the last look.
        level = group_sequential.nominal_levels(design.looks, level, design.spending)[-1]
    needed = []
    for part, deviation in zip(tested.parts, tested.deviations, strict=True):
        difference = abs(part.difference or 0.0)
        if part.relation == "within":
            # What has to be seen is the distance to the margin, not to zero.
            difference = abs((tested.claim.margin or 0.0) - difference)
        found = inference.seeds_needed(difference, deviation or 0.0, level=level)
        if found is None:
            return None
        needed.append(found)
    return max(needed)
