"""The study's verdict in a sentence, and a sentence for each comparison.

Under 8 seeds there is none. A job without a value, or a difference between variants that nobody declared,
withholds it. A study that grew without having said so beforehand gets one that is exploratory.
"""

from collections.abc import Sequence

from studies.comparison.blockers import Findings
from studies.comparison.schemas import Best, Difference, State, VariantSummary, Verdict
from studies.spec import ENOUGH_SEEDS
from studies.stats import bounds, chance, count, gap, group_sequential, inference, listed, size


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
        sentence = f"Exploratory, because {_unplanned(findings)}: {sentence}"
        return Verdict(state="exploratory", sentence=sentence, reasons=others)
    told = any(
        one.difference is not None and one.difference.decision not in (None, "undecided")
        for one in compared
    )
    state: State = "decided" if told else "undecided"
    return Verdict(state=state, sentence=sentence, reasons=others)


def _unplanned(findings: Findings) -> str:
    study = findings.study
    if study.looks:
        return f"the study has {len(study.seed_list)} seeds, and looks were declared at {listed([str(n) for n in study.looks])}"
    return f"the study had {count(findings.analysis.planned, 'seed')} planned and was given others later"


def _withheld(findings: Findings) -> str:
    unfinished, jobs = findings.unfinished()
    if unfinished:
        return f"No verdict yet: {unfinished} of {count(jobs, 'job')} are not finished."
    return "The verdict is withheld."


def _about_best(findings: Findings, variants: Sequence[VariantSummary], best: Best | None) -> str:
    baseline, metric = findings.study.baseline, findings.metric.replace("_", " ")
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
        f"({inference.CONFIDENCE * 100:.0f} % interval {bounds(difference.interval, metric)}, "
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
    """How many comparisons p is corrected for, and which look it is held to what level at."""
    family, looks, taken = findings.family, findings.study.looks, len(findings.analysis.looks)
    said = f" after Holm over {family} comparisons" if family > 1 else ""
    if looks and taken:
        level = group_sequential.nominal_levels(looks, inference.LEVEL)[taken - 1]
        said += f", at look {taken} of {len(looks)}, which asks for about {level:.2g}"
    return said


def _more(difference: Difference, metric: str) -> str:
    if difference.to_see is None:
        return ""
    what = f"to see a difference of {size(difference.to_see, metric)}"
    if difference.seeds_needed is None:
        return f"; no number of seeds within reason would be enough {what}"
    if difference.seeds_needed <= difference.n:
        return f"; {count(difference.n, 'seed')} had a power of at least 80 % {what}"
    return f"; about n = {difference.seeds_needed} seeds would be needed {what}"
