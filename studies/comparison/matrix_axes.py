"""A study along the axes of its matrix: variant × value tables, slopes per variant, interactions.

A slope is taken per seed (least squares over the axis, values at other axes averaged) and then treated as
any other number: mean, t-interval, and paired difference to the baseline's slope, which is the
interaction. Holm's correction is over the interactions of an axis.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studies.comparison.evidence import Arm
from studies.comparison.schemas import Axis, Difference, Slope
from studies.spec import StudySpec
from studies.stats import inference

#: Values that span more than this factor are looked at by doublings.
_SPAN = 4.0


def describe_axes(study: StudySpec, arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[Axis]:
    """Of every path of the matrix with more than one value."""
    for path, values in study.matrix.items():
        if len(values) > 1:
            yield _describe_axis(study, arms, seeds, path, values)


def _describe_axis(
    study: StudySpec, arms: Sequence[Arm], seeds: Sequence[int], path: str, values: Sequence[Any]
) -> Axis:
    whole = _select_complete(study, arms, path, values)
    by_variant = {v: [arm for arm in whole if arm.variant == v] for v in study.variants}
    curves = {name: _trace_curves(some, seeds, path, values) for name, some in by_variant.items()}
    shares = {
        name: max((arm.overlap for arm in own), default=0.0) for name, own in by_variant.items()
    }
    scale, places = _choose_scale(values)
    return Axis(
        path=path,
        values=tuple(values),
        scale=scale,
        table={variant: _average_columns(curve, len(values)) for variant, curve in curves.items()},
        slopes=tuple(_compare_slopes(study.baseline, curves, places, shares)) if places else (),
    )


def _select_complete(
    study: StudySpec, arms: Sequence[Arm], path: str, values: Sequence[Any]
) -> list[Arm]:
    """The arms at those settings of the other axes at which every variant has every value: anything else
    would compare means over different points."""
    wanted = {(variant, repr(value)) for variant in study.variants for value in values}
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        others = {other: value for other, value in arm.point.items() if other != path}
        found.setdefault(json.dumps(others, sort_keys=True), []).append(arm)
    return [
        arm
        for same in found.values()
        if wanted <= {(one.variant, repr(one.point.get(path))) for one in same}
        for arm in same
    ]


def _choose_scale(values: Sequence[Any]) -> tuple[Any, list[float] | None]:
    """How the axis is measured, and where its values lie on it."""
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        return None, None
    numbers = [float(one) for one in values]
    if min(numbers) > 0 and max(numbers) / min(numbers) >= _SPAN:
        return "per doubling", [math.log2(one) for one in numbers]
    return "per unit", numbers


def _trace_curves(
    arms: Sequence[Arm], seeds: Sequence[int], path: str, values: Sequence[Any]
) -> dict[int, list[float | None]]:
    """By seed: the variant's value at each value of the axis, over the other axes; None where one lacks."""
    return {
        seed: [
            _average_others([arm for arm in arms if arm.point.get(path) == value], seed)
            for value in values
        ]
        for seed in seeds
    }


def _average_others(arms: Sequence[Arm], seed: int) -> float | None:
    found = [arm.values[seed] for arm in arms if seed in arm.values]
    return inference.mean(found) if found and len(found) == len(arms) else None


def _average_columns(
    curves: Mapping[int, Sequence[float | None]], count: int
) -> tuple[float | None, ...]:
    columns = [[curve[index] for curve in curves.values()] for index in range(count)]
    return tuple(inference.mean([one for one in column if one is not None]) for column in columns)


def _compare_slopes(
    baseline: str,
    curves: Mapping[str, Mapping[int, Sequence[float | None]]],
    places: Sequence[float],
    shares: Mapping[str, float],
) -> Iterator[Slope]:
    found = {variant: _fit_slopes(curve, places) for variant, curve in curves.items()}
    interactions = {
        variant: _compare_interaction(
            slopes, found[baseline], max(shares[variant], shares[baseline])
        )
        for variant, slopes in found.items()
        if variant != baseline
    }
    tested = [name for name, one in interactions.items() if one.p_value is not None]
    adjusted = inference.holm([interactions[name].p_value or 0.0 for name in tested])
    for name, p_value in zip(tested, adjusted, strict=True):
        interactions[name] = interactions[name].model_copy(update={"p_adjusted": p_value})
    for variant, slopes in found.items():
        numbers = list(slopes.values())
        yield Slope(
            variant=variant,
            n=len(numbers),
            mean=inference.mean(numbers),
            interval=inference.t_interval(numbers, overlap=shares[variant]),
            difference=interactions.get(variant),
        )


def _fit_slopes(
    curves: Mapping[int, Sequence[float | None]], places: Sequence[float]
) -> dict[int, float]:
    """The slope at each seed whose curve is whole."""
    whole = {
        seed: [value for value in curve if value is not None]
        for seed, curve in curves.items()
        if None not in curve
    }
    return {seed: inference.slope(places, curve) for seed, curve in whole.items()}


def _compare_interaction(
    slopes: Mapping[int, float], reference: Mapping[int, float], share: float
) -> Difference:
    gaps = [slope - reference[seed] for seed, slope in slopes.items() if seed in reference]
    return Difference(
        **inference.summarize(gaps, share),
        effect_size=inference.effect_size(gaps),
    )
