"""Each arm against the baseline's arm at the same point, paired by seed: what decides between them, and what
forbids a decision.

Holm's correction goes over all comparisons of the study, inside each look where looks were declared. A job
without a value, or a difference between variants that nobody declared, withholds all decisions.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from studies.comparison.evidence import Arm, StudyEvidence
from studies.comparison.schemas import Confound, Decision, Difference, Sensitivity
from studies.stats import group_sequential, has_direction, higher_is_better, inference, listed

UNFINISHED = ("queued", "running", "paused")
_FATES = {
    "failed, to be retried": ("failed",),
    "cancelled, to be retried": ("cancelled",),
    "not finished": UNFINISHED,
    "succeeded without a finite value": ("succeeded",),
}


def find_blockers(evidence: StudyEvidence) -> tuple[str, ...]:
    """Why the verdict, and with it the ranking, is withheld; empty where nothing stands in its way."""
    return (
        *_find_undirected(evidence),
        *_find_missing(evidence),
        *_find_unmeasured(evidence),
        *_find_unexplained(evidence),
    )


def decide(evidence: StudyEvidence, *, is_withheld: bool) -> dict[str, Difference]:
    """Every difference to the baseline, by the arm's name: with its p-value after Holm, and its decision unless
    that is withheld."""
    margin = evidence.study.margin
    adjusted, rejected = _apply_holm(evidence)
    equal, equivalent = _apply_holm(evidence, margin) if margin is not None else ({}, {})
    decided = {}
    for name, arm in _list_compared(evidence):
        one = _compare_arms(arm, evidence.references[name], evidence.seeds)
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


def _compare_arms(arm: Arm, reference: Arm, seeds: Sequence[int]) -> Difference:
    """What can be said of it alone, without the other comparisons."""
    both = arm.pair_with(reference, seeds)
    gaps = [one - other for one, other in both]
    overlap = shared_overlap(arm, reference)
    return Difference(
        **inference.summarize(gaps, overlap),
        wilcoxon_p_value=inference.wilcoxon_p_value(gaps),
        bootstrap_interval=inference.bootstrap_interval(gaps),
        probability_of_improvement=inference.probability_of_improvement(
            both, higher_is_better=higher_is_better(arm.metric)
        ),
        effect_size=inference.effect_size(gaps),
        sensitivity=_leave_out_affected(arm, reference, seeds),
    )


def _list_gaps(arm: Arm, reference: Arm, seeds: Sequence[int]) -> list[float]:
    return [own - other for own, other in arm.pair_with(reference, seeds)]


def shared_overlap(*arms: Arm) -> float:
    """Of a difference: the larger one, which trusts it less."""
    return max((arm.overlap for arm in arms), default=0.0)


def _leave_out_affected(arm: Arm, reference: Arm, seeds: Sequence[int]) -> Sensitivity | None:
    """None where nothing went wrong in either arm."""
    wrong = [seed for seed in seeds if seed in arm.affected | reference.affected]
    if not wrong:
        return None
    gaps = _list_gaps(arm, reference, [seed for seed in seeds if seed not in wrong])
    overlap = shared_overlap(arm, reference)
    return Sensitivity(left_out=tuple(wrong), **inference.summarize(gaps, overlap))


def _apply_holm(
    evidence: StudyEvidence, margin: float | None = None
) -> tuple[dict[str, float], dict[str, int]]:
    """p-values after Holm over the analysed seeds, and whom it rejects, at which look.

    What can't be tested stays in the family, as what no test would reject.
    """
    study, seeds = evidence.study, evidence.seeds
    looks = [seeds[:size] for size in evidence.taken_looks] or [seeds]
    p_values = [_test_all(evidence, taken, margin) for taken in looks]
    # What can't be tested keeps its place in the family as p = 1: the others must not profit from its absence.
    names = list(p_values[-1])
    if not names:
        return {}, {}
    by_look = [[1.0 if (p := one[name]) is None else p for name in names] for one in p_values]
    planned = study.looks or (len(seeds),)
    rejected = group_sequential.sequential_holm(by_look, planned)
    adjusted = dict(zip(names, inference.holm(by_look[-1]), strict=True))
    pairs_of = zip(names, rejected, strict=True)
    return adjusted, {name: look for name, look in pairs_of if look is not None}


def _test_all(
    evidence: StudyEvidence, seeds: Sequence[int], margin: float | None
) -> dict[str, float | None]:
    """Of every comparison over these seeds: against no difference, or against one beyond the margin."""
    p_values: dict[str, float | None] = {}
    for name, arm in _list_compared(evidence):
        reference = evidence.references[name]
        gaps, overlap = _list_gaps(arm, reference, seeds), shared_overlap(arm, reference)
        if margin is None:
            p_values[name] = inference.paired_p_value(gaps, overlap=overlap)
        else:
            p_values[name] = inference.equivalence_p_value(gaps, margin, overlap=overlap)
    return p_values


def _list_compared(evidence: StudyEvidence) -> Iterator[tuple[str, Arm]]:
    return ((name, evidence.arms[name]) for name in evidence.references)


def _keeps_sign(evidence: StudyEvidence, name: str, look: int, present: Difference) -> bool:
    """Whether the difference has the sign that it had at the look which found it."""
    if not evidence.taken_looks:
        return True
    seeds = evidence.seeds[: evidence.taken_looks[look]]
    gaps = _list_gaps(evidence.arms[name], evidence.references[name], seeds)
    return (inference.mean(gaps) or 0.0) * (present.mean or 0.0) > 0


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
    arm, reference = evidence.arms[name], evidence.references[name]
    deviation = inference.deviation(_list_gaps(arm, reference, evidence.seeds))
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
        overlap=shared_overlap(arm, reference),
    )
    return {"to_see": to_see, "seeds_needed": needed}


def _find_undirected(evidence: StudyEvidence) -> Iterator[str]:
    if not has_direction(evidence.metric):
        yield f"{evidence.metric} is neither an accuracy nor a loss: no value of it is the better one"


def _find_unmeasured(evidence: StudyEvidence) -> Iterator[str]:
    if evidence.study.splits == "resampled":
        for arm in evidence.arms.values():
            if arm.values and arm.overlap == 0:
                yield (
                    f"{arm.name}: the sizes of its splits aren't recorded, so that the overlap of "
                    "resampled splits can't be allowed for"
                )


def _find_missing(evidence: StudyEvidence) -> Iterator[str]:
    if evidence.study.tune is not None and not evidence.arms:
        yield (
            "its tuning isn't over: the study's own jobs are made once every trial has succeeded; "
            "failed and cancelled ones go on with `retry`"
        )
        return
    there = {arm.variant for arm in evidence.arms.values()}
    for variant in evidence.study.variants:
        if variant not in there:
            yield f"{variant}: no jobs"
    for arm in evidence.arms.values():
        if seeds := [seed for seed in evidence.seeds if seed not in arm.values]:
            yield f"{arm.name}: {_explain_missing(arm, seeds)}"


def _find_unexplained(evidence: StudyEvidence) -> Iterator[str]:
    found: dict[tuple[str, str], list[Confound]] = {}
    for one in evidence.confounds:
        if one.is_open:
            found.setdefault((one.kind, one.what), []).append(one)
    for (kind, _), same in found.items():
        yield (
            f"{listed([one.variant for one in same])} and {evidence.study.baseline} differ in "
            f"{same[0].what}, which nothing declared explains: train again, or declare {kind!r} "
            "with a reason"
        )


def _explain_missing(arm: Arm, seeds: Sequence[int]) -> str:
    """`1 failed, to be retried (j12), 2 not finished (j13 and j14)`."""
    said = []
    for words, statuses in _FATES.items():
        jobs = [
            f"j{arm.rows[seed].job_id}"
            for seed in seeds
            if seed in arm.rows and arm.rows[seed].status in statuses
        ]
        if jobs:
            said.append(f"{len(jobs)} {words} ({listed(jobs)})")
    if absent := [str(seed) for seed in seeds if seed not in arm.rows]:
        said.append(f"no job at {'seeds' if len(absent) > 1 else 'seed'} {listed(absent)}")
    return ", ".join(said)
