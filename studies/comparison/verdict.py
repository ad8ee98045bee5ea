"""The study's verdict in a sentence, a sentence for each comparison, and why there is no verdict where there is none.

Under 8 seeds there is none. A job without a value, or a difference between variants that nobody declared,
withholds it. A study that grew without having said so beforehand gets one that is exploratory.
"""

from collections.abc import Iterator, Sequence

from studies.comparison.arms import Arm, has_direction
from studies.comparison.differences import overlap
from studies.comparison.evidence import StudyEvidence
from studies.comparison.schemas import Best, Confound, Difference, State, VariantSummary, Verdict
from studies.spec import ENOUGH_SEEDS
from studies.stats import bounds, chance, count, gap, group_sequential, inference, listed, size


def find_blockers(evidence: StudyEvidence) -> tuple[str, ...]:
    """Why the verdict, and with it the ranking, is withheld; empty where nothing stands in its way."""
    return (
        *_find_undirected(evidence),
        *_find_missing(evidence),
        *_find_unmeasured(evidence),
        *_find_unexplained(evidence),
    )


def judge(
    evidence: StudyEvidence,
    blockers: tuple[str, ...],
    variants: Sequence[VariantSummary],
    best: Best | None,
) -> Verdict:
    """The study's verdict; `variants` carry their decided differences."""
    seeds = len(evidence.seeds)
    if seeds < ENOUGH_SEEDS:
        sentence = (
            f"No verdict with {count(seeds, 'seed')}: from {ENOUGH_SEEDS} on there is one."
            + (f" On validation, {best.name} is best so far." if best else "")
        )
        return Verdict(state="too_few_seeds", sentence=sentence, reasons=blockers)
    if blockers:
        return Verdict(state="withheld", sentence=_describe_withheld(evidence), reasons=blockers)
    compared = [one for one in variants if one.difference is not None]
    sentence = _describe_best(evidence, variants, best)
    others = tuple(
        _describe_difference(evidence, one) for one in compared if not best or one.name != best.name
    )
    if evidence.is_exploratory:
        sentence = f"Exploratory, because {_explain_growth(evidence)}: {sentence}"
        return Verdict(state="exploratory", sentence=sentence, reasons=others)
    told = any(
        one.difference is not None and one.difference.decision not in (None, "undecided")
        for one in compared
    )
    state: State = "decided" if told else "undecided"
    return Verdict(state=state, sentence=sentence, reasons=others)


def _explain_growth(evidence: StudyEvidence) -> str:
    study = evidence.study
    if study.looks:
        return f"the study has {len(study.seed_list)} seeds, and looks were declared at {listed([str(n) for n in study.looks])}"
    return f"the study had {count(evidence.planned, 'seed')} planned and was given others later"


def _describe_withheld(evidence: StudyEvidence) -> str:
    unfinished, jobs = _count_unfinished(evidence)
    if unfinished:
        return f"No verdict yet: {unfinished} of {count(jobs, 'job')} are not finished."
    return "The verdict is withheld."


def _describe_best(
    evidence: StudyEvidence, variants: Sequence[VariantSummary], best: Best | None
) -> str:
    baseline, metric = evidence.study.baseline, evidence.metric.replace("_", " ")
    if best is None:
        return "No variant has a value on validation, so none is best."
    if best.variant == baseline:
        better = [
            one.name
            for one in variants
            if one.point == best.point
            and one.difference is not None
            and one.difference.decision == "better"
        ]
        if better:
            return (
                f"{best.name} is best on validation, but on {metric} {listed(better)} did better."
            )
        where = f"{best.name}, which" if best.point else f"{baseline}, which"
        return f"No variant is better than {where} is best on validation."
    found = next(one for one in variants if one.name == best.name)
    if found.difference is None:
        return f"{best.name} is best on validation; there is no {baseline} at its point."
    said = _describe_difference(evidence, found)
    if found.difference.decision == "better":
        return f"{said} On validation it is best of all."
    return f"On validation {best.name} is best, but {metric} doesn't confirm it: {said}"


def _describe_difference(evidence: StudyEvidence, one: VariantSummary) -> str:
    """A sentence about a comparison."""
    difference, baseline, metric = one.difference, evidence.study.baseline, evidence.metric
    assert difference is not None
    if difference.mean is None or difference.interval is None or difference.p_adjusted is None:
        return f"{one.name} could not be compared with {baseline}."
    seen = (
        f"{gap(difference.mean, metric)} of {metric.replace('_', ' ')} "
        f"({inference.CONFIDENCE * 100:.0f} % interval {bounds(difference.interval, metric)}, "
        f"{chance(difference.p_adjusted)}{_describe_correction(evidence)}, {count(difference.n, 'seed')})"
    )
    match difference.decision:
        case "better" | "worse":
            return f"{one.name} is {difference.decision} than {baseline}: {seen}."
        case "equivalent":
            margin = size(evidence.study.margin or 0.0, metric)
            return f"{one.name} is equivalent to {baseline} within {margin}: {seen}."
        case _:
            return f"{one.name} can't be distinguished from {baseline}: {seen}{_describe_power(difference, metric)}."


def _describe_correction(evidence: StudyEvidence) -> str:
    """How many comparisons p is corrected for, and which look it is held to what level at."""
    family, looks, taken = evidence.family, evidence.study.looks, len(evidence.taken_looks)
    said = f" after Holm over {family} comparisons" if family > 1 else ""
    if looks and taken:
        level = group_sequential.nominal_levels(looks, inference.LEVEL)[taken - 1]
        said += f", at look {taken} of {len(looks)}, which asks for about {level:.2g}"
    return said


def _describe_power(difference: Difference, metric: str) -> str:
    if difference.to_see is None:
        return ""
    what = f"to see a difference of {size(difference.to_see, metric)}"
    if difference.seeds_needed is None:
        return f"; no number of seeds within reason would be enough {what}"
    if difference.seeds_needed <= difference.n:
        return f"; {count(difference.n, 'seed')} had a power of at least 80 % {what}"
    return f"; about n = {difference.seeds_needed} seeds would be needed {what}"


def _count_unfinished(evidence: StudyEvidence) -> tuple[int, int]:
    """Jobs at the analysed seeds that haven't ended, and all jobs there."""
    rows = [
        arm.rows[seed]
        for arm in evidence.arms.values()
        for seed in evidence.seeds
        if seed in arm.rows
    ]
    return sum(row.status in _FATES["not finished"] for row in rows), len(rows)


def _find_undirected(evidence: StudyEvidence) -> Iterator[str]:
    if not has_direction(evidence.metric):
        yield f"{evidence.metric} is neither an accuracy nor a loss: no value of it is the better one"


def _find_unmeasured(evidence: StudyEvidence) -> Iterator[str]:
    if evidence.study.splits == "resampled":
        for arm in evidence.arms.values():
            if arm.values and overlap(evidence.study, arm) == 0:
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


_FATES = {
    "failed, to be retried": ("failed",),
    "cancelled, to be retried": ("cancelled",),
    "not finished": ("queued", "running", "paused"),
    "succeeded without a finite value": ("succeeded",),
}
