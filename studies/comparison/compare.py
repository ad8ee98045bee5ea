"""From a study's result rows to its comparison: means, intervals, paired differences, what decides. Pure.

Intervals are Student's t at 95 %; differences are paired by seed, at the same matrix point. A paired
t-test with Holm's correction over all comparisons of the study decides; `studies.comparison.scoring` says what a job
counts with, whatever became of it. Nothing is dropped without being counted.
"""

import statistics as stdlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from store.results import ResultRow
from studies.comparison.arms import Arm, group
from studies.comparison.blockers import Findings
from studies.comparison.caveats import notes
from studies.comparison.confounds import find_confounds
from studies.comparison.convergence import is_still_improving
from studies.comparison.decisions import decide
from studies.comparison.differences import differences, overlap
from studies.comparison.matrix_axes import describe_axes
from studies.comparison.planned_seeds import Analysis, plan_analysis
from studies.comparison.schemas import (
    Best,
    Comparison,
    Difference,
    Epochs,
    Plan,
    SeedValue,
    ToThreshold,
    VariantSummary,
)
from studies.comparison.scoring import higher_is_better, validation_metric
from studies.comparison.verdict import judge
from studies.spec import StudySpec
from studies.stats import group_sequential, inference


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a study besides its spec and its jobs' results.

    `planned_seeds`: those it was submitted with (None: all); `declared`: kind of difference → why it
    doesn't matter; `first_steps`: job → step at which it reached the study's threshold.
    """

    planned_seeds: Sequence[int] | None = None
    declared: Mapping[str, str] | None = None
    first_steps: Mapping[int, int] | None = None


NOTHING_MORE = Known()


def compare(
    study: StudySpec,
    rows: Iterable[ResultRow],
    metric: str | None = None,
    known: Known = NOTHING_MORE,
) -> Comparison:
    """The comparison over result rows, as `store.results.result_rows.study_rows` gives them."""
    metric = metric or study.metric
    arms = group(rows, metric)
    analysis = plan_analysis(study, arms, known.planned_seeds)
    confounds = tuple(find_confounds(study, arms, {**study.declared, **(known.declared or {})}))
    findings = Findings(study, metric, tuple(arms), analysis, confounds)
    decided = decide(findings, differences(study, arms, analysis.seeds))
    variants = tuple(
        _summary(study, arm, analysis.seeds, decided.get(arm.name), known.first_steps)
        for arm in arms
    )
    best = None if findings.obstacles() else _best(variants, metric)
    return Comparison(
        metric=metric,
        baseline=study.baseline,
        higher_is_better=higher_is_better(metric),
        confidence=inference.CONFIDENCE,
        verdict=judge(findings, variants, best),
        best=best,
        plan=_plan(study, analysis, len(decided)),
        variants=variants,
        axes=tuple(describe_axes(study, arms, analysis.seeds)),
        confounds=confounds,
        notes=tuple(notes(findings, variants)),
    )


def _summary(
    study: StudySpec,
    arm: Arm,
    seeds: Sequence[int],
    difference: Difference | None,
    first_steps: Mapping[int, int] | None,
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
        interval=inference.t_interval(values, overlap=overlap(study, arm)),
        best=best(values, default=None),
        worst=worst(values, default=None),
        validation=inference.mean(arm.scored(validation_metric(arm.metric), seeds)),
        difference=difference,
        epochs=Epochs(
            mean=inference.mean(arm.numbers("epochs", seeds)),
            best_mean=inference.mean(arm.numbers("best_epoch", seeds)),
            best_seconds=inference.mean(arm.best_seconds(seeds)),
        ),
        to_threshold=_to_threshold(rows, first_steps) if study.threshold else None,
        still_improving=sum(map(is_still_improving, rows)),
        diverged=sum(row.reason == "diverged" for row in rows),
        failed=counts["failed"],
        cancelled=counts["cancelled"],
        pending=len(rows) - sum(counts.values()),
        incomplete=len(values) < len(seeds),
        values=tuple(_seed_value(arm, seed) for seed in seeds if seed in arm.rows),
    )


def _to_threshold(rows: Sequence[ResultRow], first_steps: Mapping[int, int] | None) -> ToThreshold:
    known = first_steps or {}
    steps = [known[row.job_id] for row in rows if row.job_id in known]
    return ToThreshold(reached=len(steps), steps=inference.mean(steps))


def _seed_value(arm: Arm, seed: int) -> SeedValue:
    score = arm.scores[seed]
    job_id = arm.rows[seed].job_id
    return SeedValue(seed=seed, job_id=job_id, value=score.value, at_chance=score.at_chance)


def _best(variants: Sequence[VariantSummary], metric: str) -> Best | None:
    """By the mean on validation; None while nothing has one."""
    ranked = [one for one in variants if one.validation is not None]
    if not ranked:
        return None
    choose = max if higher_is_better(metric) else min
    best = choose(ranked, key=lambda one: one.validation or 0.0)
    return Best(
        name=best.name,
        variant=best.variant,
        point=best.point,
        metric=validation_metric(metric),
        mean=best.validation or 0.0,
    )


def _plan(study: StudySpec, analysis: Analysis, comparisons: int) -> Plan:
    levels = group_sequential.nominal_levels(study.looks, inference.LEVEL) if study.looks else []
    look = len(analysis.looks)
    return Plan(
        seeds=analysis.planned,
        looks=study.looks,
        look=look if study.looks else None,
        analysed=len(analysis.seeds),
        level=levels[max(look - 1, 0)] if levels else inference.LEVEL,
        margin=study.margin,
        splits=study.splits,
        comparisons=comparisons,
    )
