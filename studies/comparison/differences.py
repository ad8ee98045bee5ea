"""Each arm against the baseline's arm at the same point, paired by seed, and what decides between them.

Holm's correction goes over all comparisons of the study, inside each look where looks were declared.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studies.comparison.arms import Arm, baselines, finite, higher_is_better, pairs
from studies.comparison.evidence import StudyEvidence
from studies.comparison.schemas import Decision, Difference, Sensitivity
from studies.spec import StudySpec
from studies.stats import group_sequential, inference


def list_differences(
    study: StudySpec, arms: Sequence[Arm], seeds: Sequence[int]
) -> dict[str, Difference]:
    """By the arm's name; an arm at a point without the baseline has none."""
    references = baselines(arms, study.baseline)
    return {
        arm.name: _compare_arms(study, arm, references[arm.place], seeds)
        for arm in arms
        if arm.variant != study.baseline and arm.place in references
    }


def _compare_arms(study: StudySpec, arm: Arm, reference: Arm, seeds: Sequence[int]) -> Difference:
    """What can be said of it alone, without the other comparisons."""
    both = pairs(arm, reference, seeds)
    gaps = [one - other for one, other in both]
    share = shared_overlap(study, arm, reference)
    return Difference(
        **inference.summarize(gaps, share),
        wilcoxon_p_value=inference.wilcoxon_p_value(gaps),
        bootstrap_interval=inference.bootstrap_interval(gaps),
        probability_of_improvement=inference.probability_of_improvement(
            both, higher_is_better=higher_is_better(arm.metric)
        ),
        effect_size=inference.effect_size(gaps),
        sensitivity=_leave_out_affected(study, arm, reference, seeds),
    )


def _test_all(
    study: StudySpec, arms: Iterable[Arm], seeds: Sequence[int], margin: float | None = None
) -> dict[str, float | None]:
    """Of every comparison over these seeds: against no difference, or against one beyond the margin."""
    arms = list(arms)
    references = baselines(arms, study.baseline)
    found: dict[str, float | None] = {}
    for arm in arms:
        if arm.variant == study.baseline or arm.place not in references:
            continue
        gaps = [one - other for one, other in pairs(arm, references[arm.place], seeds)]
        share = shared_overlap(study, arm, references[arm.place])
        if margin is None:
            found[arm.name] = inference.paired_p_value(gaps, overlap=share)
        else:
            found[arm.name] = inference.equivalence_p_value(gaps, margin, overlap=share)
    return found


def overlap(study: StudySpec, arm: Arm) -> float:
    """Held-out over training examples where splits are resampled, for the correction of Nadeau & Bengio
    (2003); 0 where the split is fixed, or nothing has started yet. Where the test split is the set's own,
    it is validation that is held out of the training examples."""
    if study.splits != "resampled":
        return 0.0
    for row in arm.rows.values():
        facts = row.facts or {}
        train = finite(facts.get("train_size"))
        is_test = not arm.metric.startswith(("best_", "final_val")) and facts.get("test_is_cut")
        held_out = finite(facts.get("test_size" if is_test else "val_size"))
        if train and held_out is not None:
            return held_out / train
    return 0.0


def shared_overlap(study: StudySpec, *arms: Arm) -> float:
    """Of a difference: the larger one, which trusts it less."""
    return max(overlap(study, arm) for arm in arms)


def _leave_out_affected(
    study: StudySpec, arm: Arm, reference: Arm, seeds: Sequence[int]
) -> Sensitivity | None:
    """None where nothing went wrong in either arm."""
    wrong = [seed for seed in seeds if seed in arm.affected | reference.affected]
    if not wrong:
        return None
    gaps = [
        one - other
        for one, other in pairs(arm, reference, [seed for seed in seeds if seed not in wrong])
    ]
    share = shared_overlap(study, arm, reference)
    return Sensitivity(left_out=tuple(wrong), **inference.summarize(gaps, share))


def decide(
    evidence: StudyEvidence, differences: Mapping[str, Difference], *, is_withheld: bool
) -> dict[str, Difference]:
    """Each difference with its p-value after Holm, and its decision unless that is withheld."""
    margin = evidence.study.margin
    adjusted, rejected = _apply_holm(evidence)
    equal, equivalent = _apply_holm(evidence, margin) if margin is not None else ({}, {})
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
            # A difference that was found at an earlier look and has turned its sign since is found no more.
            found = name in rejected and _keeps_sign(evidence, name, rejected[name], one)
            decision = _choose_decision(evidence.metric, one, found, name in equivalent)
            update["decision"] = decision
            if decision == "undecided":
                update |= _estimate_seeds(evidence, name, one)
        decided[name] = one.model_copy(update=update)
    return decided


def _apply_holm(
    evidence: StudyEvidence, margin: float | None = None
) -> tuple[dict[str, float], dict[str, int]]:
    """p-values after Holm over the analysed seeds, and whom it rejects, at which look.

    What can't be tested stays in the family, as what no test would reject.
    """
    study, seeds = evidence.study, evidence.seeds
    looks = [seeds[:size] for size in evidence.taken_looks] or [seeds]
    found = [_test_all(study, evidence.arms.values(), taken, margin) for taken in looks]
    # What can't be tested keeps its place in the family as p = 1: the others must not profit from its absence.
    names = list(found[-1])
    if not names:
        return {}, {}
    by_look = [[1.0 if (p := one[name]) is None else p for name in names] for one in found]
    planned = study.looks or (len(seeds),)
    rejected = group_sequential.sequential_holm(by_look, planned)
    adjusted = dict(zip(names, inference.holm(by_look[-1]), strict=True))
    pairs_of = zip(names, rejected, strict=True)
    return adjusted, {name: look for name, look in pairs_of if look is not None}


def _keeps_sign(evidence: StudyEvidence, name: str, look: int, present: Difference) -> bool:
    """Whether the difference has the sign that it had at the look which found it."""
    if not evidence.taken_looks:
        return True
    arm, reference = _find_pair(evidence, name)
    both = pairs(arm, reference, evidence.seeds[: evidence.taken_looks[look]])
    then = inference.mean([one - other for one, other in both]) or 0.0
    return then * (present.mean or 0.0) > 0


def _choose_decision(
    metric: str, difference: Difference, is_rejected: bool, is_equivalent: bool
) -> Decision:
    """A difference that is surely smaller than what matters is none, however surely it is there."""
    if is_equivalent:
        return "equivalent"
    if not is_rejected:
        return "undecided"
    is_higher = (difference.mean or 0.0) > 0
    return "better" if is_higher == higher_is_better(metric) else "worse"


def _estimate_seeds(
    evidence: StudyEvidence, name: str, difference: Difference
) -> dict[str, float | int | None]:
    """How many seeds would show the margin or, without one, a difference as large as the one seen, at
    the level that Holm asks of the smallest p-value."""
    study = evidence.study
    arm, reference = _find_pair(evidence, name)
    both = pairs(arm, reference, evidence.seeds)
    deviation = inference.deviation([one - other for one, other in both])
    # Without a margin, the difference that was seen takes its place.
    to_see = study.margin or abs(difference.mean or 0.0)
    if not to_see or deviation is None:
        return {}
    level = inference.LEVEL / evidence.family
    needed = inference.seeds_needed(
        to_see,
        deviation,
        # With looks, what is left of the level for the last of them.
        level=group_sequential.nominal_levels(study.looks, level)[-1] if study.looks else level,
        overlap=shared_overlap(study, arm, reference),
    )
    return {"to_see": to_see, "seeds_needed": needed}


def _find_pair(evidence: StudyEvidence, name: str) -> tuple[Arm, Arm]:
    """The arm of this name, and the baseline's at its point."""
    arm = evidence.arms[name]
    return arm, baselines(evidence.arms.values(), evidence.study.baseline)[arm.place]
