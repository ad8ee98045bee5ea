"""A decision for each comparison: Holm over all of them, inside each look where looks were declared. Says
nothing in words."""

from collections.abc import Mapping
from typing import Any

from studies.comparison.arms import Arm, baselines, pairs
from studies.comparison.blockers import Findings
from studies.comparison.differences import p_values, shared_overlap
from studies.comparison.schemas import Decision, Difference
from studies.comparison.scoring import higher_is_better
from studies.stats import group_sequential, inference


def decide(findings: Findings, differences: Mapping[str, Difference]) -> dict[str, Difference]:
    """Each difference with its p-value after Holm, and its decision unless that is withheld."""
    margin = findings.study.margin
    adjusted, rejected = _tested(findings)
    equal, equivalent = _tested(findings, margin) if margin is not None else ({}, {})
    is_withheld = bool(findings.obstacles())
    decided = {}
    for name, one in differences.items():
        if one.p_value is None:
            decided[name] = one
            continue
        update: dict[str, Any] = {
            "p_adjusted": adjusted[name],
            "equivalence_p_value": equal.get(name),
        }
        if not is_withheld:
            found = name in rejected and _still_points(findings, name, rejected[name], one)
            decision = _decision(findings.metric, one, found, name in equivalent)
            update["decision"] = decision
            if decision == "undecided":
                update |= _needed(findings, name, one)
        decided[name] = one.model_copy(update=update)
    return decided


def _tested(
    findings: Findings, margin: float | None = None
) -> tuple[dict[str, float], dict[str, int]]:
    """p-values after Holm over the analysed seeds, and whom it rejects, at which look.

    What can't be tested stays in the family, as what no test would reject.
    """
    study, analysis = findings.study, findings.analysis
    looks = [analysis.seeds[:size] for size in analysis.looks] or [analysis.seeds]
    found = [p_values(study, findings.arms, seeds, margin) for seeds in looks]
    names = list(found[-1])
    if not names:
        return {}, {}
    by_look = [[1.0 if (p := one[name]) is None else p for name in names] for one in found]
    planned = study.looks or (len(analysis.seeds),)
    rejected = group_sequential.sequential_holm(by_look, planned)
    adjusted = dict(zip(names, inference.holm(by_look[-1]), strict=True))
    pairs_of = zip(names, rejected, strict=True)
    return adjusted, {name: look for name, look in pairs_of if look is not None}


def _still_points(findings: Findings, name: str, look: int, present: Difference) -> bool:
    """Whether the difference has the sign that it had at the look which found it."""
    analysis = findings.analysis
    if not analysis.looks:
        return True
    arm, reference = _compared(findings, name)
    both = pairs(arm, reference, analysis.seeds[: analysis.looks[look]])
    then = inference.mean([one - other for one, other in both]) or 0.0
    return then * (present.mean or 0.0) > 0


def _decision(
    metric: str, difference: Difference, is_rejected: bool, is_equivalent: bool
) -> Decision:
    """A difference that is surely smaller than what matters is none, however surely it is there."""
    if is_equivalent:
        return "equivalent"
    if not is_rejected:
        return "undecided"
    is_higher = (difference.mean or 0.0) > 0
    return "better" if is_higher == higher_is_better(metric) else "worse"


def _needed(findings: Findings, name: str, difference: Difference) -> dict[str, float | int | None]:
    """How many seeds would show the margin or, without one, a difference as large as the one seen, at
    the level that Holm asks of the smallest p-value."""
    study = findings.study
    arm, reference = _compared(findings, name)
    both = pairs(arm, reference, findings.analysis.seeds)
    deviation = inference.deviation([one - other for one, other in both])
    to_see = study.margin or abs(difference.mean or 0.0)
    if not to_see or deviation is None:
        return {}
    level = inference.LEVEL / findings.family
    needed = inference.seeds_needed(
        to_see,
        deviation,
        # With looks, what is left of the level for the last of them.
        level=group_sequential.nominal_levels(study.looks, level)[-1] if study.looks else level,
        overlap=shared_overlap(study, arm, reference),
    )
    return {"to_see": to_see, "seeds_needed": needed}


def _compared(findings: Findings, name: str) -> tuple[Arm, Arm]:
    """The arm of this name, and the baseline's at its point."""
    arm = next(one for one in findings.arms if one.name == name)
    return arm, baselines(findings.arms, findings.study.baseline)[arm.place]
