"""What a job or a study looks like as an MLflow run: names, params, metrics, tags, inputs."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from runtime.files import digest_of
from store.db import Diagnosis, Epoch, Job, Study
from store.mlflow import JobToMirror, StudyToMirror
from studies.comparison import Comparison
from studies.stats import with_drift
from worker.mirror.limits import (
    LONGEST_PARAM,
    LONGEST_RUN_NAME,
    LONGEST_SOURCE,
    LONGEST_TAG,
    clip,
    entity_key,
)
from worker.mirror.tracking import milliseconds

STATUSES = {
    "queued": "SCHEDULED",
    "paused": "SCHEDULED",
    "running": "RUNNING",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}

# The names of metrics are SQL's own, except for these slash forms, which group MLflow's charts.
#: Columns of the epoch table. `seconds` is also what a job took in all, so an epoch's have another name.
EPOCH_SLASH_FORMS: Final[Mapping[str, str]] = {
    "train_loss": "train/loss",
    "train_cost": "train/cost",
    "train_accuracy": "train/accuracy",
    "val_loss": "val/loss",
    "val_accuracy": "val/accuracy",
    "learning_rate": "lr",
    "seconds": "epoch_seconds",
}
#: A job's own metrics: those of the epoch that was kept, and of its weights on the test split.
JOB_SLASH_FORMS: Final[Mapping[str, str]] = {
    "best_epoch": "best/epoch",
    "best_train_loss": "best/train_loss",
    "best_train_cost": "best/train_cost",
    "best_train_accuracy": "best/train_accuracy",
    "best_val_loss": "best/val_loss",
    "best_val_accuracy": "best/val_accuracy",
    "test_loss": "test/loss",
    "test_accuracy": "test/accuracy",
}

_CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


def job_params(spec: Mapping[str, Any]) -> dict[str, str]:
    """The spec, flattened to dotted paths; a list's parts go by their kind where they have one."""
    return {
        entity_key(path): clip(_text(value), LONGEST_PARAM)
        for path, value in _flattened(spec)
        if value is not None and value not in ([], {})
    }


def epoch_metrics(epochs: Iterable[Epoch]) -> Iterator[Metric]:
    """Every epoch's points, with the time of its row: sent again, a point is the same point."""
    for row in epochs:
        columns = {name: getattr(row, name) for name in EPOCH_SLASH_FORMS}
        for name, value in _with_nan({**columns, **row.extra}, row.non_finite).items():
            yield Metric(epoch_metric(name), value, milliseconds(row.recorded_at), row.epoch)


def diagnosis_metrics(
    diagnoses: Iterable[Diagnosis], firsts: Mapping[str, Diagnosis], spec: Mapping[str, Any]
) -> Iterator[Metric]:
    """`diagnostics/<layer>/<statistic>`, at the epoch where they are measured after each, else the step."""
    by_epoch = spec["diagnostics"]["kind"] == "epoch"
    for diagnosis in diagnoses:
        statistics = with_drift(diagnosis.statistics, firsts[diagnosis.layer].statistics)
        at, place = (
            milliseconds(diagnosis.recorded_at),
            diagnosis.epoch if by_epoch else diagnosis.step,
        )
        for name, value in _with_nan(statistics, diagnosis.non_finite).items():
            yield Metric(diagnosis_metric(diagnosis.layer, name), value, at, place)


def final_metrics(job: Job) -> list[Metric]:
    """The job's own numbers (`best/val_accuracy`, `test/accuracy`, …) at the epoch that was kept."""
    if job.finished_at is None:
        return []
    at, step = milliseconds(job.finished_at), kept_epoch(job)
    values = {**_with_nan(job.metrics, job.non_finite), "seconds": job.seconds_used}
    return [Metric(job_metric(name), value, at, step) for name, value in values.items()]


def epoch_metric(name: str) -> str:
    """Of a column of `epochs`, or a key of its `extra`."""
    return EPOCH_SLASH_FORMS.get(name) or entity_key(name)


def job_metric(name: str) -> str:
    """Of a key of a job's `metrics`."""
    return JOB_SLASH_FORMS.get(name) or entity_key(name)


def diagnosis_metric(layer: str, statistic: str) -> str:
    """Of a layer's statistic: one group of charts per layer."""
    return entity_key(f"diagnostics/{layer}/{statistic}")


def kept_epoch(job: Job) -> int:
    """The epoch of the weights that were evaluated; 0 when there is none."""
    return int(job.metrics.get("best_epoch") or job.metrics.get("epochs") or 0)


def job_tags(record: JobToMirror, parent_run_id: str | None) -> dict[str, str]:
    job = record.job
    tags = {
        "mlflow.user": record.owner,
        "mlflow.source.name": "normlab",
        "mlflow.source.type": "JOB",
        "mlflow.parentRunId": parent_run_id,
        "normlab.job": job.id,
        "normlab.name": job.name if len(job.name) > LONGEST_RUN_NAME else None,
        "normlab.study": job.study_id,
        "normlab.variant": job.variant,
        "normlab.seed": job.seed,
        "normlab.trial": None if job.trial is None else json.dumps(job.trial, sort_keys=True),
        "normlab.hash": job.hash,
        "normlab.reused_from": job.reused_from,
        "normlab.status": job.status,
        "normlab.reason": job.reason,
        "normlab.attempts": job.attempt,
        "normlab.tags": _listed(job.tags),
        **{f"normlab.point.{path}": value for path, value in job.point.items()},
    }
    return _tags(tags)


def study_params(record: StudyToMirror) -> dict[str, str]:
    """What a study says that no extension changes; how many seeds there are by now is a tag."""
    spec = record.study.spec
    own = {
        "variants": ", ".join(spec["variants"]),
        "baseline": spec.get("baseline"),
        "metric": spec.get("metric"),
        "models": spec.get("models"),
    }
    return job_params({**own, "matrix": spec.get("matrix", {}), "base": spec.get("base", {})})


def study_metrics(record: StudyToMirror, comparison: Comparison | None) -> list[Metric]:
    """How many of its jobs have ended; once all have, each arm's mean. Sent again, a point is the same point."""
    ends = [job.finished_at for job in record.jobs if job.finished_at is not None]
    failed = sum(job.status in ("failed", "cancelled") for job in record.jobs)
    at, step = milliseconds(max(ends, default=record.study.created_at)), len(ends)
    values = {"jobs/ended": float(len(ends)), "jobs/failed": float(failed)}
    if comparison is not None:
        values |= {
            f"{comparison.metric}/{one.name}": one.mean
            for one in comparison.variants
            if one.mean is not None
        }
    return [Metric(entity_key(name), value, at, step) for name, value in values.items()]


def study_tags(record: StudyToMirror) -> dict[str, str]:
    tags = {
        "mlflow.user": record.owner,
        "mlflow.source.name": "normlab",
        "mlflow.source.type": "JOB",
        "normlab.study": record.study.id,
        "normlab.status": study_status(record),
        "normlab.jobs": len(record.jobs),
        "normlab.seeds": len({job.seed for job in record.jobs}),
        "normlab.metric": record.study.spec.get("metric"),
        "normlab.baseline": record.study.spec.get("baseline"),
        "normlab.tags": _listed(record.study.tags),
        "normlab.preset": _preset(record.study),
        "normlab.verdicts": json.dumps({one.claim: one.verdict for one in record.verdicts})
        if record.verdicts
        else None,
    }
    return _tags(tags)


def _preset(study: Study) -> str | None:
    """Which one, as its file was then."""
    if study.preset is None:
        return None
    named = ("name", "scale", "dataset", "digest")
    return json.dumps({name: study.preset[name] for name in named})


def study_status(record: StudyToMirror) -> str:
    """Derived from the jobs: it is over when all are, and partial when some didn't succeed."""
    statuses = {job.status for job in record.jobs}
    if record.final:
        return statuses.pop() if len(statuses) == 1 else "partial"
    if "running" in statuses:
        return "running"
    return "paused" if statuses & {"paused"} and "queued" not in statuses else "queued"


def run_status(status: str) -> str:
    """MLflow's word for a job's or a study's status; a partial study is over like any other."""
    return STATUSES.get(status, "FINISHED")


def dataset_inputs(record: JobToMirror) -> list[DatasetInput]:
    """The three splits. MLflow tells inputs apart by name and digest, so each split has its own."""
    info = record.dataset.info or {}
    cut = {key: value for key, value in record.job.spec["dataset"].items() if value is not None}
    return [
        DatasetInput(
            Dataset(
                name=record.dataset.name,
                digest=_digest([info.get("digest"), cut, split]),
                source_type=record.dataset.source.get("kind", "builtin"),
                source=clip(json.dumps(record.dataset.source), LONGEST_SOURCE),
                profile=json.dumps({"dataset": info.get("digest"), "split": split, "cut": cut}),
            ),
            [InputTag("mlflow.data.context", context)],
        )
        for split, context in _CONTEXTS.items()
    ]


def _listed(tags: Sequence[str]) -> str:
    """Never empty: MLflow would go on showing the tags that were taken away."""
    return ", ".join(tags) or "–"


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {
        entity_key(key): clip(_text(value), LONGEST_TAG)
        for key, value in tags.items()
        if value not in (None, "")
    }


def _with_nan(values: Mapping[str, Any], non_finite: Mapping[str, str]) -> dict[str, float]:
    """NaN for what isn't finite, infinities too: MLflow would show those as 1.8e308."""
    numbers = {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    return {**numbers, **dict.fromkeys(non_finite, math.nan)}


def _flattened(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flattened(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for label, item in zip(_labels(value), value, strict=True):
            yield from _flattened(item, f"{path}.{label}")
    else:
        yield path, value


def _labels(items: list[Any]) -> list[str]:
    """Each item's kind, with its place where a kind appears twice or there is none."""
    kinds = [str(item.get("kind", "")) if isinstance(item, Mapping) else "" for item in items]
    return [
        kind if kind and kinds.count(kind) == 1 else f"{kind}{place}"
        for place, kind in enumerate(kinds)
    ]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, list | dict | bool) else str(value)


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return digest_of(text)
