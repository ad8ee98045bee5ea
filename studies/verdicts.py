"""What the comparisons amount to: a decision for each, and the study's verdict in a sentence.

Under 8 seeds there is none. A job without a value, or a difference between variants that nobody declared,
withholds it. A study that grew without having said so beforehand gets one that is exploratory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies import sequential, statistics
from studies.answers import Best, Confound, Decision, Difference, State, VariantSummary, Verdict
from studies.arms import Arm, baselines, pairs
from studies.differences import overlap, p_values
from studies.planning import Analysis
from studies.scoring import higher_is_better
from studies.spec import ENOUGH_SEEDS, StudySpec
from studies.wording import bounds, chance, count, gap, listed, size


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a verdict rests on besides the differences themselves."""

    study: StudySpec
    metric: str
    arms: tuple[Arm, ...]
    analysis: Analysis
    confounds: tuple[Confound, ...]

    def obstacles(self) -> tuple[str, ...]:
        """Why the verdict, and with it the ranking, is withheld."""
        return (*self._missing(), *self._unexplained())

    def _missing(self) -> Iterator[str]:
        there = {arm.variant for arm in self.arms}
        for variant in self.study.variants:
            if variant not in there:
                yield f"{variant}: no jobs"
        for arm in self.arms:
            if seeds := [seed for seed in self.analysis.seeds if seed not in arm.values]:
                yield f"{arm.name}: {_why_missing(arm, seeds)}"

    def _unexplained(self) -> Iterator[str]:
        found: dict[str, list[Confound]] = {}
        for one in self.confounds:
            if one.is_open:
                found.setdefault(one.kind, []).append(one)
        for kind, same in found.items():
            yield (
                f"{listed([one.variant for one in same])} and {self.study.baseline} differ in "
                f"{same[0].what}, which nothing declared explains: train anew, or declare {kind!r} "
                "with a reason"
            )


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
    rejected = sequential.sequential_holm(by_look, planned)
    adjusted = dict(zip(names, statistics.holm(by_look[-1]), strict=True))
    pairs_of = zip(names, rejected, strict=True)
    return adjusted, {name: look for name, look in pairs_of if look is not None}


def _still_points(findings: Findings, name: str, look: int, present: Difference) -> bool:
    """Whether the difference has the sign that it had at the look which found it."""
    study, analysis = findings.study, findings.analysis
    if not analysis.looks:
        return True
    arm = next(one for one in findings.arms if one.name == name)
    reference = baselines(findings.arms, study.baseline)[arm.place]
    both = pairs(arm, reference, analysis.seeds[: analysis.looks[look]])
    then = statistics.mean([one - other for one, other in both]) or 0.0
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
    references = baselines(findings.arms, study.baseline)
    arm = next(one for one in findings.arms if one.name == name)
    both = pairs(arm, references[arm.place], findings.analysis.seeds)
    deviation = statistics.deviation([one - other for one, other in both])
    to_see = study.margin or abs(difference.mean or 0.0)
    family = sum(one.variant != study.baseline and one.place in references for one in findings.arms)
    if not to_see or deviation is None:
        return {}
    needed = statistics.seeds_needed(
        to_see, deviation, level=statistics.LEVEL / family, overlap=overlap(study, arm)
    )
    return {"to_see": to_see, "seeds_needed": needed}


def judge(findings: Findings, variants: Sequence[VariantSummary], best: Best | None) -> Verdict:
    """The study's verdict; `variants` carry their decided differences."""
    seeds, obstacles = len(findings.analysis.seeds), findings.obstacles()
    if seeds < ENOUGH_SEEDS:
        sentence = (
            f"No verdict with {count(seeds, 'seed')}: from {ENOUGH_SEEDS} on there is one."
            + (f" On validation, {best.name} is best so far." if best else "")
        )
        return Verdict(state="too_few_seeds", sentence=sentence, reasons=obstacles)
    if obstacles:
        return Verdict(state="withheld", sentence=_withheld(findings), reasons=obstacles)
    compared = [one for one in variants if one.difference is not None]
    sentence = _about_best(findings, variants, best)
    others = tuple(_about(findings, one) for one in compared if not best or one.name != best.name)
    if findings.analysis.is_exploratory:
        grown = (
            f"Exploratory, because the study had {count(findings.analysis.planned, 'seed')} planned "
            f"and was given others later: "
        )
        return Verdict(state="exploratory", sentence=grown + sentence, reasons=others)
    told = any(
        one.difference is not None and one.difference.decision not in (None, "undecided")
        for one in compared
    )
    state: State = "decided" if told else "undecided"
    return Verdict(state=state, sentence=sentence, reasons=others)


def _withheld(findings: Findings) -> str:
    rows = [row for arm in findings.arms for row in arm.rows.values()]
    unfinished = sum(row["status"] in ("queued", "running", "paused") for row in rows)
    if unfinished:
        return f"No verdict yet: {unfinished} of {count(len(rows), 'job')} are not finished."
    return "The verdict is withheld."


def _why_missing(arm: Arm, seeds: Sequence[int]) -> str:
    """`1 failed, to be retried (j12), 2 not finished (j13 and j14)`."""
    said = []
    for words, statuses in _FATES.items():
        jobs = [
            f"j{arm.rows[seed]['job_id']}"
            for seed in seeds
            if seed in arm.rows and arm.rows[seed]["status"] in statuses
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


def _about_best(findings: Findings, variants: Sequence[VariantSummary], best: Best | None) -> str:
    baseline, metric = findings.study.baseline, findings.metric.replace("_", " ")
    if best is None:
        return "No variant has a value on validation, so none is best."
    if best.variant == baseline:
        better = [
            one.name
            for one in variants
            if one.difference is not None and one.difference.decision == "better"
        ]
        if better:
            return (
                f"{best.name} is best on validation, but on {metric} {listed(better)} did better."
            )
        return f"No variant is better than {baseline}, which is best on validation."
    found = next(one for one in variants if one.name == best.name)
    if found.difference is None:
        return f"{best.name} is best on validation; there is no {baseline} at its point."
    said = _about(findings, found)
    if found.difference.decision == "better":
        return f"{said} On validation it is best of all."
    return f"On validation {best.name} is best, but {metric} doesn't confirm it: {said}"


def _about(findings: Findings, one: VariantSummary) -> str:
    """A sentence about a comparison."""
    difference, baseline, metric = one.difference, findings.study.baseline, findings.metric
    assert difference is not None
    if difference.mean is None or difference.interval is None or difference.p_adjusted is None:
        return f"{one.name} could not be compared with {baseline}."
    seen = (
        f"{gap(difference.mean, metric)} of {metric.replace('_', ' ')} "
        f"({statistics.CONFIDENCE * 100:.0f} % interval {bounds(difference.interval, metric)}, "
        f"{chance(difference.p_adjusted)}{_corrected(findings)}, {count(difference.n, 'seed')})"
    )
    match difference.decision:
        case "better" | "worse":
            return f"{one.name} is {difference.decision} than {baseline}: {seen}."
        case "equivalent":
            margin = size(findings.study.margin or 0.0, metric)
            return f"{one.name} is equivalent to {baseline} within {margin}: {seen}."
        case _:
            return f"{one.name} can't be told apart from {baseline}: {seen}{_more(difference, metric)}."


def _corrected(findings: Findings) -> str:
    references = baselines(findings.arms, findings.study.baseline)
    family = sum(
        arm.variant != findings.study.baseline for arm in findings.arms if arm.place in references
    )
    return f" after Holm over {family} comparisons" if family > 1 else ""


def _more(difference: Difference, metric: str) -> str:
    if difference.to_see is None:
        return ""
    what = f"to see a difference of {size(difference.to_see, metric)}"
    if difference.seeds_needed is None:
        return f"; no number of seeds within reason would be enough {what}"
    if difference.seeds_needed <= difference.n:
        return f"; {count(difference.n, 'seed')} had a power of at least 80 % {what}"
    return f"; about n = {difference.seeds_needed} seeds would be needed {what}"
