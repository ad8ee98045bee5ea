"""Each arm against the baseline's arm at the same point, paired by seed. Decides nothing."""

from collections.abc import Sequence

from studies.comparison.arms import Arm, baselines, pairs
from studies.comparison.schemas import Difference, Sensitivity
from studies.comparison.scoring import finite, higher_is_better
from studies.spec import StudySpec
from studies.stats import inference


def differences(
    study: StudySpec, arms: Sequence[Arm], seeds: Sequence[int]
) -> dict[str, Difference]:
    """By the arm's name; an arm at a point without the baseline has none."""
    references = baselines(arms, study.baseline)
    return {
        arm.name: difference(study, arm, references[arm.place], seeds)
        for arm in arms
        if arm.variant != study.baseline and arm.place in references
    }


def difference(study: StudySpec, arm: Arm, reference: Arm, seeds: Sequence[int]) -> Difference:
    """What can be said of it alone, without the other comparisons."""
    both = pairs(arm, reference, seeds)
    gaps = [one - other for one, other in both]
    share = shared_overlap(study, arm, reference)
    return Difference(
        n=len(gaps),
        mean=inference.mean(gaps),
        interval=inference.t_interval(gaps, overlap=share),
        p_value=inference.paired_p_value(gaps, overlap=share),
        wilcoxon_p_value=inference.wilcoxon_p_value(gaps),
        bootstrap_interval=inference.bootstrap_interval(gaps),
        probability_of_improvement=inference.probability_of_improvement(
            both, higher_is_better=higher_is_better(arm.metric)
        ),
        effect_size=inference.effect_size(gaps),
        sensitivity=_without_affected(study, arm, reference, seeds),
    )


def p_values(
    study: StudySpec, arms: Sequence[Arm], seeds: Sequence[int], margin: float | None = None
) -> dict[str, float | None]:
    """Of every comparison over these seeds: against no difference, or against one beyond the margin."""
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


def _without_affected(
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
    return Sensitivity(
        left_out=tuple(wrong),
        n=len(gaps),
        mean=inference.mean(gaps),
        interval=inference.t_interval(gaps, overlap=share),
        p_value=inference.paired_p_value(gaps, overlap=share),
    )
