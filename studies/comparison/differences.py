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
    "failed": ("failed",),
    "cancelled": ("cancelled",),
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
    # Two families, each corrected by itself at 5 %: that there is no difference, and that the difference reaches
    # beyond the margin. One comparison may be rejected in both, if the difference is there and too small to
    # matter.
    adjusted, rejected = _apply_holm(evidence)
    equal, equivalent = _apply_holm(evidence, margin) if margin is not None else ({}, {})
    decided = {}
    for name, arm in _list_compared(evidence):
        difference = _compare_arms(arm, evidence.references[name], evidence.seeds)
        # Too few pairs for a test: the difference is shown with its interval, and nothing is decided. It keeps
        # its place in Holm's family.
        if difference.p_value is None:
            decided[name] = difference
            continue
        update: dict[str, Any] = {
            "p_adjusted": adjusted[name],
            "equivalence_p_value": equal.get(name),
        }
        # Only the decision is withheld. Means, intervals and p-values are shown: they are what one needs to see
        # what is wrong.
        if not is_withheld:
            # A difference that was found at an earlier look and has turned its sign since is found no more.
            is_rejected = name in rejected and _keeps_sign(
                evidence, name, rejected[name], difference
            )
            decision = _choose_decision(
                evidence.metric, difference, is_rejected, name in equivalent
            )
            update["decision"] = decision
            if decision == "undecided":
                update |= _estimate_seeds(evidence, name, difference)
        decided[name] = difference.model_copy(update=update)
    return decided


def _compare_arms(arm: Arm, reference: Arm, seeds: Sequence[int]) -> Difference:
    """What can be said of it alone, without the other comparisons."""
    both = arm.pair_with(reference, seeds)
    gaps = [one - other for one, other in both]
    # The t-test and its interval allow for the overlap of resampled splits; Wilcoxon's test and the bootstrap
    # can't, and only stand beside them.
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
    # A seed is left out of both arms, whichever of them it went wrong in, so that what remains is still paired.
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
    # Holm's procedure is run at every look that was taken, over the seeds that there were then. What an earlier
    # look rejected stays rejected: the level that it spent cannot be spent again.
    looks = [seeds[:size] for size in evidence.taken_looks] or [seeds]
    p_values = [_test_all(evidence, taken, margin) for taken in looks]
    # What can't be tested keeps its place in the family as p = 1: the others must not profit from its absence.
    names = list(p_values[-1])
    if not names:
        return {}, {}
    by_look = [[1.0 if (p := one[name]) is None else p for name in names] for one in p_values]
    # A study without declared looks is analysed once, at all its seeds, where the whole level may be spent.
    planned = study.looks or (len(seeds),)
    rejected = group_sequential.sequential_holm(by_look, planned)
    # For reading only: the p-values of the present look, corrected as if it were the only one. What is rejected
    # follows from each look's own level: with
    # looks at 8 and 16 seeds about 0.3 % and 4.9 %.
    adjusted = dict(zip(names, inference.holm(by_look[-1]), strict=True))
    looks_of = zip(names, rejected, strict=True)
    return adjusted, {name: look for name, look in looks_of if look is not None}


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
    # A two-sided test rejects "no difference" without saying in which direction. Today's sign must not be read
    # into the rejection of an earlier look: had the mean turned from -1 to +0.2 points since, the variant would
    # be called better on the strength of seeds at which it was worse.
    if not evidence.taken_looks:
        return True
    seeds = evidence.seeds[: evidence.taken_looks[look]]
    gaps = _list_gaps(evidence.arms[name], evidence.references[name], seeds)
    return (inference.mean(gaps) or 0.0) * (present.mean or 0.0) > 0


def _choose_decision(
    metric: str, difference: Difference, is_rejected: bool, is_equivalent: bool
) -> Decision:
    """A difference that is surely smaller than what matters is none, however surely it is there."""
    # With a margin of 2 points, +0.3 points at p < 0.001 is equivalent: certainly there, and no reason to prefer
    # either variant.
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
    # Holm holds only the smallest p-value to level / m. Planning for it is on the safe side for all others.
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
            # Zero is what an arm has whose jobs recorded no sizes. Its intervals would be those of independent
            # splits, which are too narrow, and nobody could see it.
            if arm.values and arm.overlap == 0:
                yield (
                    f"{arm.name}: the sizes of its splits aren't recorded, so that the overlap of "
                    "resampled splits can't be allowed for"
                )


def _find_missing(evidence: StudyEvidence) -> Iterator[str]:
    if evidence.study.tuned_paths and not evidence.arms:
        yield (
            "its tuning isn't complete: the study's own jobs are created once every trial has ended, and none was "
            "cancelled or failed for another reason than memory or time; `retry` runs failed and cancelled ones again"
        )
        return
    # Arms are made of jobs: a variant without any job is in none of the loops over arms, and would be dropped in
    # silence.
    there = {arm.variant for arm in evidence.arms.values()}
    for variant in evidence.study.variants:
        if variant not in there:
            yield f"{variant}: no jobs"
    for arm in evidence.arms.values():
        if seeds := [seed for seed in evidence.seeds if seed not in arm.values]:
            yield f"{arm.name}: {_explain_missing(arm, seeds)}"


def _find_unexplained(evidence: StudyEvidence) -> Iterator[str]:
    by_kind: dict[tuple[str, str], list[Confound]] = {}
    for confound in evidence.confounds:
        # One sentence for each thing that differs, whatever the number of arms: a new version of a library
        # usually concerns them all.
        if confound.is_open:
            by_kind.setdefault((confound.kind, confound.what), []).append(confound)
    for (kind, _), same in by_kind.items():
        yield (
            f"{listed([one.variant for one in same])} and {evidence.study.baseline} differ in "
            f"{same[0].what}, which nothing declared explains: train again, or declare {kind!r} "
            "with a reason"
        )


def _explain_missing(arm: Arm, seeds: Sequence[int]) -> str:
    """`1 failed (j12), 2 not finished (j13 and j14)`."""
    reasons = []
    for words, statuses in _FATES.items():
        jobs = [
            f"j{arm.rows[seed].job_id}"
            for seed in seeds
            if seed in arm.rows and arm.rows[seed].status in statuses
        ]
        if jobs:
            reasons.append(f"{len(jobs)} {words} ({listed(jobs)})")
    if absent := [str(seed) for seed in seeds if seed not in arm.rows]:
        reasons.append(f"no job at {'seeds' if len(absent) > 1 else 'seed'} {listed(absent)}")
    return ", ".join(reasons)
