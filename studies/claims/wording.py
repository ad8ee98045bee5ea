"""Claims and their verdicts as words for a person."""

from collections.abc import Iterator
from typing import Any

from studies.claims.schemas import ClaimPart, ClaimVerdict
from studies.spec import (
    Claim,
    Combined,
    CurveOf,
    DiagnosticOf,
    Diverged,
    Gain,
    Logarithm,
    MetricOf,
    Spread,
    StepsToReach,
)
from studies.stats import Interval, chance, count

_POINTS = "points"


def unit_of(claim: Claim) -> str:
    """`points` of shares, which are shown times a hundred; else what the claim says, or nothing."""
    return claim.unit or unit_of_statistic(claim.statistic)


def unit_of_statistic(statistic: Any) -> str:
    """Empty where a number has none."""
    match statistic:
        case MetricOf(name=name):
            return _POINTS if name.endswith(("_accuracy", "_error")) else ""
        case CurveOf(column=column):
            return _POINTS if column.endswith("_accuracy") else ""
        case Diverged():
            return _POINTS
        case StepsToReach():
            return "steps"
        case Combined(kind="difference", of=(first, second)):
            units = {unit_of_statistic(first), unit_of_statistic(second)}
            return units.pop() if len(units) == 1 else ""
        case Gain(of=part):
            return unit_of_statistic(part)
        case Spread() | _:
            return ""


def words(statistic: Any) -> str:
    """What a statistic is, for an axis: `test error`, `final train accuracy - test accuracy`."""
    match statistic:
        case MetricOf(name=name):
            return name.replace("_", " ")
        case CurveOf(column=column, take=take):
            return f"{take.replace('_', ' ')} {column.replace('_', ' ')}"
        case Diverged():
            return "diverged"
        case StepsToReach(value=value, best_of=arm):
            return f"steps to reach {f'the best of {arm}' if arm else value}"
        case DiagnosticOf(statistic=name, layer=layer):
            return f"{name.replace('_', ' ')}, {layer}"
        case Spread(take=take, layer=layer):
            return f"{take.replace('_', ' ')}, {layer} layer"
        case Combined(kind=kind, of=(first, second)):
            return f"{words(first)} {'-' if kind == 'difference' else '/'} {words(second)}"
        case Gain(of=part, over=variant):
            return f"gain in {words(part)} over {variant}"
        case Logarithm(of=part):
            return f"log10 of {words(part)}"
        case _:
            raise AssertionError(statistic)


def ours(verdict: ClaimVerdict) -> str:
    """What was measured, as short as a table wants it: `batch 2.10 %, batch · 2 54.80 %`."""
    known = (one for one in verdict.arms if one.mean is not None)
    return ", ".join(f"{one.arm} {shown(one.mean or 0.0, verdict.unit)}" for one in known)


def sentence(verdict: ClaimVerdict, claims: int) -> str:
    """The verdict and the numbers it rests on."""
    numbers = "; ".join(_parts(verdict))
    tested = ""
    if verdict.p_adjusted is not None:
        family = f" after Holm over {count(claims, 'claim')}" if claims > 1 else ""
        tested = f" (n = {verdict.n}, {chance(verdict.p_adjusted)}{family})"
    more = ""
    if verdict.reasons:
        more = f" No verdict: {'; '.join(verdict.reasons)}."
    elif verdict.verdict == "undecided":
        more = f" {_needed(verdict)}"
    head = verdict.verdict.capitalize()
    if verdict.is_exploratory:
        head += " (exploratory: seeds were added after results were seen)"
    return f"{head}: {numbers}{tested}.{more}"


def shown(value: float, unit: str) -> str:
    """`54.8 %` of a share, else `1.37` or `240`."""
    return f"{value * 100:.2f} %" if unit == _POINTS else f"{value:.4g}"


def margin_of(claim: Claim) -> str | None:
    """`1.00 points`: what the claim takes for no difference; None where it takes every difference for one."""
    return None if claim.margin is None else _size(claim.margin, unit_of(claim))


def span(interval: Interval, unit: str) -> str:
    low, high = (f"{one * 100:+.2f}" if unit == _POINTS else f"{one:+.4g}" for one in interval)
    return f"{low} to {high}"


def relation(part: ClaimPart, margin: float | None, unit: str) -> str:
    """What a part claims: `batch · batch_size=2 above batch · batch_size=32`."""
    other = part.reference if isinstance(part.reference, str) else shown(part.reference, unit)
    if part.relation == "within":
        return f"{part.arm} within {_size(margin or 0.0, unit)} of {other}"
    return f"{part.arm} {part.relation} {other}"


def _parts(verdict: ClaimVerdict) -> Iterator[str]:
    means = {one.arm: one.mean for one in verdict.arms}
    for part in verdict.parts:
        if part.difference is None:
            yield f"{part.arm} can't be compared with {part.reference}"
            continue
        other = part.reference if isinstance(part.reference, str) else None
        value, than = means[part.arm], means[other] if other else part.reference
        assert value is not None
        assert isinstance(than, int | float)
        name = f"{other} {shown(than, verdict.unit)}" if other else shown(than, verdict.unit)
        between = f" [{span(part.interval, verdict.unit)}]" if part.interval else ""
        gap = _gap(part.difference, verdict.unit)
        yield f"{part.arm} {shown(value, verdict.unit)} to {name}, difference {gap}{between}"


def _needed(verdict: ClaimVerdict) -> str:
    if verdict.seeds_needed is None:
        return "No number of seeds that one could train would tell."
    more = max(1, verdict.seeds_needed - verdict.n)
    return f"About {count(more, 'more seed')} would be needed to see such differences."


def _gap(value: float, unit: str) -> str:
    if unit == _POINTS:
        return f"{value * 100:+.2f} points"
    return f"{value:+.4g}{' ' if unit else ''}{unit}"


def _size(value: float, unit: str) -> str:
    return _gap(abs(value), unit).removeprefix("+")
