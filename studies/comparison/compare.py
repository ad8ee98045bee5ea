"""From a study's evidence to its comparison: a summary of each arm, what decides, and the axes of the matrix.

Intervals are Student's t at 95 %; differences are paired by seed, at the same matrix point. A paired
t-test with Holm's correction over all comparisons of the study decides; `studies.stats.metrics` says what a
job counts with, whatever became of it. Nothing is dropped without being counted.

Along an axis a slope is taken per seed (least squares, values at other axes averaged) and then treated as any other
number: mean, t-interval, and paired difference to the baseline's slope, which is the interaction. Holm's correction
is over the interactions of an axis.
"""

import json
import math
import statistics as stdlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from store.db import Study
from store.results import ResultRow
from studies.comparison.differences import decide, find_blockers, shared_overlap
from studies.comparison.evidence import Arm, StudyEvidence, read_evidence
from studies.comparison.schemas import (
    Axis,
    Best,
    Comparison,
    Difference,
    Epochs,
    Plan,
    SeedValue,
    Slope,
    ToThreshold,
    VariantSummary,
)
from studies.comparison.verdict import is_still_improving, judge, list_caveats
from studies.spec import StudySpec
from studies.stats import group_sequential, higher_is_better, inference, validation_metric

#: Values that span more than this factor are looked at by doublings.
_SPAN = 4.0


def read_comparison(session: Session, study: Study, metric: str | None = None) -> Comparison:
    """Of the study as it is now; `metric`: None for the study's own."""
    return compare(read_evidence(session, study, metric))


def compare(evidence: StudyEvidence) -> Comparison:
    """All arms of the study against its baseline."""
    study, metric, seeds = evidence.study, evidence.metric, evidence.seeds
    # The order matters: blockers withhold decisions, decisions make the summaries, and the verdict speaks of
    # both.
    blockers = find_blockers(evidence)
    arms = list(evidence.arms.values())
    differences = decide(evidence, is_withheld=bool(blockers))
    variants = tuple(
        _summarize(study, arm, seeds, differences.get(arm.name), evidence.first_steps)
        for arm in arms
    )
    best = None if blockers else _find_best(variants, metric)
    return Comparison(
        metric=metric,
        baseline=study.baseline,
        higher_is_better=higher_is_better(metric),
        confidence=inference.CONFIDENCE,
        verdict=judge(evidence, blockers, variants, best),
        best=best,
        plan=_describe_plan(evidence, len(differences)),
        variants=variants,
        axes=tuple(_describe_axes(study, arms, seeds)),
        confounds=evidence.confounds,
        notes=tuple(list_caveats(evidence, variants)),
    )


def _summarize(
    study: StudySpec,
    arm: Arm,
    seeds: Sequence[int],
    difference: Difference | None,
    first_steps: Mapping[int, int],
) -> VariantSummary:
    values = arm.chosen(seeds)
    rows = [arm.rows[seed] for seed in seeds if seed in arm.rows]
    counts = {
        status: sum(row.status == status for row in rows)
        for status in ("succeeded", "failed", "cancelled")
    }
    best, worst = (max, min) if higher_is_better(arm.metric) else (min, max)
    return VariantSummary(
        name=arm.name,
        variant=arm.variant,
        point=arm.point,
        n=len(values),
        mean=inference.mean(values),
        std=stdlib.stdev(values) if len(values) > 1 else None,
        median=stdlib.median(values) if values else None,
        interquartile_mean=inference.interquartile_mean(values) if values else None,
        interval=inference.t_interval(values, overlap=arm.overlap),
        best=best(values, default=None),
        worst=worst(values, default=None),
        validation=inference.mean(arm.scored(validation_metric(arm.metric), seeds)),
        difference=difference,
        epochs=Epochs(
            mean=inference.mean(arm.numbers("epochs", seeds)),
            best_mean=inference.mean(arm.numbers("best_epoch", seeds)),
            best_seconds=inference.mean(arm.best_seconds(seeds)),
        ),
        to_threshold=_count_reached(rows, first_steps) if study.threshold else None,
        still_improving=sum(map(is_still_improving, rows)),
        diverged=sum(row.reason == "diverged" for row in rows),
        failed=counts["failed"],
        cancelled=counts["cancelled"],
        pending=len(rows) - sum(counts.values()),
        incomplete=len(values) < len(seeds),
        values=tuple(_make_seed_value(arm, seed) for seed in seeds if seed in arm.rows),
    )


def _count_reached(rows: Sequence[ResultRow], first_steps: Mapping[int, int]) -> ToThreshold:
    steps = [first_steps[row.job_id] for row in rows if row.job_id in first_steps]
    return ToThreshold(reached=len(steps), steps=inference.mean(steps))


def _make_seed_value(arm: Arm, seed: int) -> SeedValue:
    score = arm.scores[seed]
    job_id = arm.rows[seed].job_id
    return SeedValue(seed=seed, job_id=job_id, value=score.value, at_chance=score.at_chance)


def _find_best(variants: Sequence[VariantSummary], metric: str) -> Best | None:
    """By the mean on validation; None while nothing has one."""
    ranked = [one for one in variants if one.validation is not None]
    if not ranked:
        return None
    # By validation, never by the test metric: choosing the best of many by test and then reporting its test value
    # would report the luck of the draw as well.
    choose = max if higher_is_better(metric) else min
    best = choose(ranked, key=lambda one: one.validation or 0.0)
    return Best(
        name=best.name,
        variant=best.variant,
        point=best.point,
        metric=validation_metric(metric),
        mean=best.validation or 0.0,
    )


def _describe_plan(evidence: StudyEvidence, comparisons: int) -> Plan:
    study, look = evidence.study, len(evidence.taken_looks)
    levels = (
        group_sequential.nominal_levels(study.looks, inference.LEVEL, study.spending)
        if study.looks
        else []
    )
    return Plan(
        seeds=evidence.planned,
        looks=study.looks,
        look=look if study.looks else None,
        analysed=len(evidence.seeds),
        level=levels[max(look - 1, 0)] if levels else inference.LEVEL,
        margin=study.margin,
        splits=study.splits,
        comparisons=comparisons,
    )


def _describe_axes(study: StudySpec, arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[Axis]:
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
    overlaps = {name: shared_overlap(*own) for name, own in by_variant.items()}
    scale, places = _choose_scale(values)
    return Axis(
        path=path,
        values=tuple(values),
        scale=scale,
        table={variant: _average_columns(curve, len(values)) for variant, curve in curves.items()},
        slopes=tuple(_compare_slopes(study.baseline, curves, places, overlaps)) if places else (),
    )


def _select_complete(
    study: StudySpec, arms: Sequence[Arm], path: str, values: Sequence[Any]
) -> list[Arm]:
    """The arms at those settings of the other axes at which every variant has every value: anything else
    would compare means over different points."""
    # By `repr`, as a value of the matrix may be a list or a mapping, which no set can hold.
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
    # Batch sizes of 2, 8 and 32 lie evenly on a scale of doublings; on a linear one the slope would rest on the largest value
    # almost alone.
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
    overlaps: Mapping[str, float],
) -> Iterator[Slope]:
    found = {variant: _fit_slopes(curve, places) for variant, curve in curves.items()}
    interactions = {
        variant: _compare_interaction(
            slopes, found[baseline], max(overlaps[variant], overlaps[baseline])
        )
        for variant, slopes in found.items()
        if variant != baseline
    }
    # Each axis is a question of its own, asked beside the study's one that decides: its interactions are
    # corrected among themselves.
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
            interval=inference.t_interval(numbers, overlap=overlaps[variant]),
            difference=interactions.get(variant),
        )


def _fit_slopes(
    curves: Mapping[int, Sequence[float | None]], places: Sequence[float]
) -> dict[int, float]:
    """The slope at each seed whose curve is whole."""
    # A slope over fewer values than the others' would be a slope of something else.
    whole = {
        seed: [value for value in curve if value is not None]
        for seed, curve in curves.items()
        if None not in curve
    }
    return {seed: inference.slope(places, curve) for seed, curve in whole.items()}


def _compare_interaction(
    slopes: Mapping[int, float], reference: Mapping[int, float], overlap: float
) -> Difference:
    gaps = [slope - reference[seed] for seed, slope in slopes.items() if seed in reference]
    return Difference(
        **inference.summarize(gaps, overlap),
        effect_size=inference.effect_size(gaps),
    )
