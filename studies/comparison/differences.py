"""Each arm against the baseline's arm at the same point, paired by seed: what decides between them, and what
forbids a decision.

Holm's correction goes over all comparisons of the study, inside each look where looks were declared. A job
without a value, or a difference between variants that nobody declared, withholds all decisions.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from studies.comparison.evidence import Arm, StudyEvidence
from studies.comparison.schemas import Confound, Decision, Difference, Sensitivity
from studies.stats import (
    Interval,
    Outcome,
    Ruling,
    decide_comparisons,
    group_sequential,
    has_direction,
    higher_is_better,
    inference,
    listed,
)

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
    decided = {}
    for name, ruling in rule(evidence).items():
        arm, reference = evidence.arms[name], evidence.references[name]
        difference = _compare_arms(arm, reference, evidence.seeds)
        # Too few pairs for a test: the difference is shown with its interval, and nothing is decided. It keeps
        # its place in Holm's family.
        if difference.p_value is None:
            decided[name] = difference
            continue
        update: dict[str, Any] = {
            "p_adjusted": ruling.p_adjusted,
            "equivalence_p_value": ruling.equivalence_p_value,
            "repeated_interval": _repeat_interval(evidence, name),
        }
        # Only the decision is withheld. Means, intervals and p-values are shown: they are what one needs to see
        # what is wrong.
        if not is_withheld:
            decision = _name_decision(evidence.metric, ruling.outcome)
            update["decision"] = decision
            if decision == "undecided":
                update |= _estimate_seeds(evidence, name, difference)
        decided[name] = difference.model_copy(update=update)
    return decided


def rule(evidence: StudyEvidence) -> dict[str, Ruling]:
    """What the tests say of every comparison, by the arm's name, whatever withholds the verdict."""
    names = list(evidence.references)
    if not names:
        return {}
    looks = [evidence.seeds[:size] for size in evidence.taken_looks] or [evidence.seeds]
    pairs = [(evidence.arms[name], evidence.references[name]) for name in names]
    rulings = decide_comparisons(
        evidence.design,
        [[_list_gaps(*pair, seeds) for pair in pairs] for seeds in looks],
        [shared_overlap(*pair) for pair in pairs],
    )
    return dict(zip(names, rulings, strict=True))


def _repeat_interval(evidence: StudyEvidence, name: str) -> Interval | None:
    """At the level of the present look: those of all looks together hold the true difference with 95 %, wherever the study
    stops (Jennison & Turnbull 1989). None where it is the only one."""
    taken, design = len(evidence.taken_looks), evidence.design
    if taken == 0 or len(design.looks) < 2:
        return None
    arm, reference = evidence.arms[name], evidence.references[name]
    level = group_sequential.nominal_levels(design.looks, inference.LEVEL, design.spending)
    return inference.t_interval(
        _list_gaps(arm, reference, evidence.seeds),
        overlap=shared_overlap(arm, reference),
        confidence=1 - level[taken - 1],
    )


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


def _name_decision(metric: str, outcome: Outcome) -> Decision:
    match outcome:
        case "equivalent" | "undecided":
            return outcome
        case "higher" | "lower":
            return "better" if (outcome == "higher") == higher_is_better(metric) else "worse"


def _estimate_seeds(
    evidence: StudyEvidence, name: str, difference: Difference
) -> dict[str, float | int | None]:
    """How many seeds would show the margin or, without one, a difference as large as the one seen, at
    the level that Holm asks of the smallest p-value."""
    design = evidence.design
    arm, reference = evidence.arms[name], evidence.references[name]
    deviation = inference.deviation(_list_gaps(arm, reference, evidence.seeds))
    # Without a margin, the difference that was seen takes its place.
    to_see = design.margin or abs(difference.mean or 0.0)
    if not to_see or deviation is None:
        return {}
    # Holm holds only the smallest p-value to level / m. Planning for it is on the safe side for all others.
    level = inference.LEVEL / evidence.family
    needed = inference.seeds_needed(
        to_see,
        deviation,
        # With looks, what is left of the level for the last of them.
        level=group_sequential.nominal_levels(design.looks, level, design.spending)[-1]
        if design.looks
        else level,
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
            "its tuning isn't complete: the study's own jobs are created once every trial has ended, none was "
            "cancelled or failed for another reason than memory or time, and every arm has a setting that needed "
            "neither more memory nor more time than it had; `retry` runs failed and cancelled trials again"
        )
        return
    unbegun = _find_unbegun(evidence)
    if evidence.pretraining is not None and unbegun:
        yield (
            f"no arm has a job at {'seeds' if len(unbegun) > 1 else 'seed'} {listed(list(map(str, unbegun)))}: they are created "
            f"once the pretraining of their seed has succeeded; {_explain_missing(evidence.pretraining, unbegun)}; "
            "`retry` runs failed and cancelled ones again"
        )
    if unbegun == list(evidence.seeds):
        return
    # Arms are made of jobs: a variant without any job is in none of the loops over arms, and would be dropped in
    # silence.
    there = {arm.variant for arm in evidence.arms.values()}
    for variant in evidence.study.variants:
        if variant not in there:
            yield f"{variant}: no jobs"
    for arm in evidence.arms.values():
        missing = (seed for seed in evidence.seeds if seed not in arm.values)
        if seeds := [seed for seed in missing if seed not in unbegun]:
            yield f"{arm.name}: {_explain_missing(arm, seeds)}"


def _find_unbegun(evidence: StudyEvidence) -> list[int]:
    """Seeds at which no arm has a job yet, of a study with a pretraining."""
    if evidence.study.pretrain is None:
        return []
    begun = {seed for arm in evidence.arms.values() for seed in arm.rows}
    return [seed for seed in evidence.seeds if seed not in begun]


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
