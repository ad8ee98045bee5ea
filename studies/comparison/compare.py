"""From a study's result rows to its comparison: means, intervals, paired differences, what decides.

Intervals are Student's t at 95 %; differences are paired by seed, at the same matrix point. A paired
t-test with Holm's correction over all comparisons of the study decides; `studies.stats.metrics` says what a
job counts with, whatever became of it. Nothing is dropped without being counted.
"""

import statistics as stdlib
from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from store.db import Study
from store.results import ResultRow
from studies.comparison.differences import decide, find_blockers
from studies.comparison.evidence import Arm, StudyEvidence, read_evidence
from studies.comparison.matrix_axes import describe_axes
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
from studies.comparison.verdict import judge, list_caveats
from studies.spec import StudySpec
from studies.stats import finite, group_sequential, higher_is_better, inference, validation_metric

#: A job is *still improving* if it ended at the limit of its epochs or steps (not by early stopping, not diverged)
#: and its best evaluation, by the metric that the job monitors, is among the last tenth of all, rounded up. A
#: training that has come to rest, whose best is as likely at one evaluation as at any other, has it there by
#: chance in 10 % (1 of 10) to 18 % (2 of 11) of all cases. So a variant is reported only if more than half of its
#: jobs are like that. With fewer than this many evaluations the last one alone is more than a tenth of them.
FEWEST_EVALUATIONS = 10
#: The last tenth of the evaluations.
_PARTS = 10


def read_comparison(session: Session, study: Study, metric: str | None = None) -> Comparison:
    """Of the study as it is now; `metric`: None for the study's own."""
    return compare(read_evidence(session, study, metric))


def compare(evidence: StudyEvidence) -> Comparison:
    """All arms of the study against its baseline."""
    study, metric, seeds = evidence.study, evidence.metric, evidence.seeds
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
        axes=tuple(describe_axes(study, arms, seeds)),
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


def is_still_improving(row: ResultRow) -> bool:
    """Whether the job ended at its limit with its best evaluation among the last tenth."""
    if row.status != "succeeded" or row.reason != "completed":
        return False
    evaluations, best = (finite(row.metrics.get(name)) for name in ("epochs", "best_epoch"))
    if evaluations is None or best is None or evaluations < FEWEST_EVALUATIONS:
        return False
    return best > evaluations - -(-evaluations // _PARTS)


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
    levels = group_sequential.nominal_levels(study.looks, inference.LEVEL) if study.looks else []
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
