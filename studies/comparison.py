"""From a study's result rows to its comparison: means, intervals, paired differences. Pure arithmetic.

Intervals are Student's t at 95 %; differences are paired by seed, at the same matrix point. The rule
for what went wrong: a diverged job counts with the metric it reached; where that isn't a finite number,
or where a job failed, the variant is marked incomplete and its mean is over what remains, which may
flatter it. Nothing is dropped without being counted.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from studies.expansion import arm_name
from studies.spec import ENOUGH_SEEDS, StudySpec

CONFIDENCE = 0.95
#: Differences of values that are equal on paper differ by so much of themselves.
ROUNDING = 1e-12
Interval = tuple[float, float]


class Summary(BaseModel):
    """Frozen base of the answers below."""

    model_config = ConfigDict(frozen=True)


class Difference(Summary):
    """Variant minus baseline over the seeds that both finished; two-sided paired t-test."""

    n: int
    mean: float | None
    interval: Interval | None
    p_value: float | None


class Epochs(Summary):
    """Evaluation periods trained until the end, and the one whose weights were kept."""

    mean: float | None
    best_mean: float | None


class SeedValue(Summary):
    """One job's value; None when it isn't a finite number or the job has none."""

    seed: int
    job_id: int
    value: float | None


class VariantSummary(Summary):
    """One arm of the comparison: a variant at one matrix point."""

    name: str
    variant: str
    point: dict[str, Any]
    n: int
    mean: float | None
    std: float | None
    interval: Interval | None
    difference: Difference | None
    epochs: Epochs
    diverged: int
    failed: int
    cancelled: int
    pending: int
    incomplete: bool
    values: tuple[SeedValue, ...]


class Comparison(Summary):
    """All arms against the baseline, in the order of the study."""

    metric: str
    baseline: str
    higher_is_better: bool
    confidence: float
    variants: tuple[VariantSummary, ...]
    notes: tuple[str, ...]


def compare(
    study: StudySpec, rows: Iterable[Mapping[str, Any]], metric: str | None = None
) -> Comparison:
    """The comparison over result rows (`job_id, variant, point, seed, status, reason, metrics, epochs`)."""
    metric = metric or study.metric
    arms = _by_arm(rows)
    baselines = {
        _key(cells[0]["point"]): _values(cells, metric)
        for cells in arms
        if cells[0]["variant"] == study.baseline
    }
    variants = tuple(
        _summary(cells, metric, study.baseline, baselines.get(_key(cells[0]["point"])))
        for cells in arms
    )
    return Comparison(
        metric=metric,
        baseline=study.baseline,
        higher_is_better=not metric.endswith(("_loss", "_cost")),
        confidence=CONFIDENCE,
        variants=variants,
        notes=tuple(_notes(variants, len(study.seed_list))),
    )


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's t-interval of the mean; None below two values."""
    n = len(values)
    if n < 2:
        return None
    # scipy.special alone: scipy.stats would triple the start of a process that only compares.
    from scipy.special import stdtrit

    mean = statistics.fmean(values)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def paired_p_value(differences: Sequence[float]) -> float | None:
    """Two-sided paired t-test against zero; None below `ENOUGH_SEEDS` pairs.

    Equal differences leave no variance to test with: 1 when all are zero, else None.
    """
    n = len(differences)
    if n < ENOUGH_SEEDS:
        return None
    from scipy.special import stdtr

    deviation = statistics.stdev(differences)
    if deviation <= ROUNDING * max(map(abs, differences)):
        return 1.0 if differences[0] == 0 else None
    t = statistics.fmean(differences) / (deviation / math.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(t)))


def _by_arm(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Rows grouped by variant and point, in the order in which the jobs were made."""
    arms: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["job_id"]):
        arms.setdefault((row["variant"], _key(row["point"])), []).append(row)
    return list(arms.values())


def _key(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def _values(cells: Sequence[Mapping[str, Any]], metric: str) -> dict[int, float]:
    """Finite values by seed, of succeeded jobs (diverged ones among them)."""
    return {
        row["seed"]: float(value)
        for row in cells
        if row["status"] == "succeeded" and _is_finite(value := row["metrics"].get(metric))
    }


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _summary(
    cells: Sequence[Mapping[str, Any]],
    metric: str,
    baseline: str,
    reference: Mapping[int, float] | None,
) -> VariantSummary:
    variant, point = cells[0]["variant"], dict(cells[0]["point"])
    values = _values(cells, metric)
    numbers = list(values.values())
    counts = {
        status: sum(row["status"] == status for row in cells)
        for status in ("succeeded", "failed", "cancelled")
    }
    return VariantSummary(
        name=arm_name(variant, point),
        variant=variant,
        point=point,
        n=len(values),
        mean=statistics.fmean(numbers) if numbers else None,
        std=statistics.stdev(numbers) if len(numbers) > 1 else None,
        interval=t_interval(numbers),
        difference=None if variant == baseline else _difference(values, reference or {}),
        epochs=Epochs(mean=_mean_of(cells, "epochs"), best_mean=_mean_of(cells, "best_epoch")),
        diverged=sum(row["reason"] == "diverged" for row in cells),
        failed=counts["failed"],
        cancelled=counts["cancelled"],
        pending=len(cells) - sum(counts.values()),
        incomplete=len(values) < len(cells),
        values=tuple(
            SeedValue(seed=row["seed"], job_id=row["job_id"], value=values.get(row["seed"]))
            for row in cells
        ),
    )


def _difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference:
    pairs = [value - reference[seed] for seed, value in values.items() if seed in reference]
    return Difference(
        n=len(pairs),
        mean=statistics.fmean(pairs) if pairs else None,
        interval=t_interval(pairs),
        p_value=paired_p_value(pairs),
    )


def _mean_of(cells: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    numbers = [
        float(value)
        for row in cells
        if row["status"] == "succeeded" and _is_finite(value := row["metrics"].get(metric))
    ]
    return statistics.fmean(numbers) if numbers else None


def _notes(variants: Sequence[VariantSummary], seeds: int) -> Iterable[str]:
    if seeds < ENOUGH_SEEDS:
        yield f"{seeds} seeds: under {ENOUGH_SEEDS} there are no p-values and no verdict"
    for one in variants:
        if one.pending:
            yield f"{one.name}: {one.pending} of {len(one.values)} jobs are not finished"
        if one.failed or one.cancelled:
            yield (
                f"{one.name}: {one.failed} failed and {one.cancelled} cancelled jobs have no value; "
                "the mean is over the rest and may flatter it"
            )
        lost = len(one.values) - one.n - one.pending - one.failed - one.cancelled
        if one.diverged:
            reached = max(one.diverged - lost, 0)
            which = "" if reached == one.diverged else f": {reached}"
            yield f"{one.name}: {one.diverged} diverged jobs{which} count with the metric they reached"
        if lost:
            yield (
                f"{one.name}: {lost} succeeded jobs have no finite value; the mean is over the rest "
                "and may flatter it"
            )
        pairs = one.difference.n if one.difference is not None else seeds
        if pairs < ENOUGH_SEEDS <= seeds and not any(other.pending for other in variants):
            yield (
                f"{one.name}: {pairs} seeds have a value here and in the baseline; under "
                f"{ENOUGH_SEEDS} there is no p-value"
            )
