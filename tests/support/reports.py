"""A whole report without a database: planted results, and curves and insides whose numbers are known."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from store.results.result_rows import ResultRow
from studies.report.panels.schemas import Fan
from studies.report.schemas import (
    Curve,
    Filters,
    Histogram,
    JobReport,
    Provenance,
    ReportInput,
    StoredFile,
)
from studies.spec.expand import arm_name
from tests.support.result_rows import (
    ENVIRONMENT,
    Variants,
    alter,
    compare_rows,
    fake_rows,
    make_study,
)

BEGIN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MEANS = {"none": 0.95, "batch": 0.97, "group": 0.965}
EPOCHS = 6
BEST = 4


def make_report(
    variants: Variants = ("none", "batch", "group"),
    *,
    change: Mapping[str, Any] | None = None,
    insides: bool = True,
    **fields: Any,
) -> ReportInput:
    """Of these variants, the first the baseline; `change` replaces parts of the report, `fields` of the
    study. The second job has diverged after its third epoch."""
    study = make_study(variants, seeds=8, **fields)
    rows = fake_rows(study, lambda variant, _: MEANS.get(variant, 0.9), seed=5, own=0.002)
    alter(rows, rows[1:2], reason="diverged")
    jobs = tuple(make_job(row) for row in rows)
    parts = {
        "study_id": 2,
        "name": study.name,
        "project": study.project,
        "owner": "ann",
        "description": study.description,
        "status": "succeeded",
        "created_at": BEGIN,
        "finished_at": BEGIN + timedelta(hours=1),
        "mlflow_url": "http://mlflow.test/#/experiments/1/runs/a",
        "warnings": (),
        "spec": study.model_dump(mode="json"),
        "comparison": compare_rows(study, rows),
        "jobs": jobs,
        "provenance": Provenance(
            spec="5" * 32,
            data={"digits": "d" * 32},
            environment={name: (value,) for name, value in ENVIRONMENT.items()},
        ),
    }
    if insides:
        names = list(study.variants)
        parts["fans"] = tuple(make_fan(name, layer) for name in names for layer in ("1", "4"))
        parts["filters"] = tuple(make_filters(name) for name in names)
        parts["histograms"] = tuple(make_histogram(name) for name in names)
    return ReportInput(**{**parts, **(change or {})})


def make_job(row: ResultRow) -> JobReport:
    return JobReport(
        id=row.job_id,
        arm=arm_name(row.variant, row.point),
        variant=row.variant,
        point=row.point,
        seed=row.seed,
        status=row.status,
        reason=row.reason,
        value=row.metrics["test_accuracy"],
        metrics={**row.metrics, "best_epoch": BEST, "stop_epoch_patience": EPOCHS},
        hash="h",
        started_at=BEGIN,
        finished_at=BEGIN,
        mlflow_url=f"http://mlflow.test/#/experiments/1/runs/{row.job_id}",
        curve=make_curve(row.seed, diverged=row.reason == "diverged"),
        files=(StoredFile(name="test_weights.npz", digest="f" * 32, bytes=10),),
    )


def make_curve(seed: int, *, diverged: bool = False) -> Curve:
    """Validation loss 1 / epoch + seed / 100, accuracies 0.9 and 0.8 + epoch / 100."""
    epochs = range(1, EPOCHS + 1)

    def column(value: Any) -> tuple[float | None, ...]:
        return tuple(None if diverged and epoch > 3 else value(epoch) for epoch in epochs)

    return Curve(
        epoch=tuple(epochs),
        step=tuple(10 * epoch for epoch in epochs),
        train_loss=column(lambda epoch: 1 / epoch),
        train_accuracy=column(lambda epoch: 0.9 + epoch / 100),
        val_loss=column(lambda epoch: 1 / epoch + seed / 100),
        val_accuracy=column(lambda epoch: 0.8 + epoch / 100),
    )


def make_fan(variant: str, layer: str) -> Fan:
    def columns(scale: float) -> dict[str, tuple[float | None, ...]]:
        return {str(p): (scale * p, scale * (p + 1)) for p in (1, 15, 50, 85, 99)}

    return Fan(
        variant=variant, seed=0, layer=layer, steps=(10, 20), before=columns(1), after=columns(0.5)
    )


def make_filters(variant: str, channels: int = 1) -> Filters:
    images = np.linspace(-1, 1, 14 * channels * 9, dtype=np.float32).reshape(14, channels, 3, 3)
    return Filters.of(images, variant=variant, seed=0, layer="0", total=32)


def make_histogram(variant: str) -> Histogram:
    counts = tuple(round(1000 * math.exp(-(((bin - 49.5) / 10) ** 2))) for bin in range(100))
    return Histogram(
        variant=variant, layer="0", jobs=8, reach=0.5, counts=counts, minimum=-0.3, maximum=0.3
    )
