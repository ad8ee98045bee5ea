"""The best weights of a job as MLflow's LoggedModel: which jobs, and how. Torch is loaded at the first."""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from store.mirror import JobToMirror, StudyToMirror
from store.models import FINAL_STATUSES, Checkpoint, Job
from studies.expansion import arm_name
from trainer.spec import DatasetInfo, JobSpec
from worker.mlflow_runs import kept_epoch
from worker.tracking import Tracking

if TYPE_CHECKING:
    from torch import nn

log = structlog.get_logger("worker.mirror")

NAME = "model"
#: Datasets up to so many bytes are read to say how a model's inputs are standardized.
_LARGEST_DATASET = 2**30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a model: its id where it was logged, else why it wasn't."""

    kind: Literal["logged", "state_dict", "missing"]
    model_id: str | None = None
    detail: str = ""


def models_wanted(record: StudyToMirror) -> set[int]:
    """The jobs of a study whose models belong in MLflow, of those arms that are over."""
    policy = record.study.spec.get("models", "best")
    if policy == "none":
        return set()
    arms: dict[str, list[Job]] = {}
    for job in record.jobs:
        arms.setdefault(arm_name(job.variant or "", job.point), []).append(job)
    finished = [jobs for jobs in arms.values() if all(j.status in FINAL_STATUSES for j in jobs)]
    if policy == "all":
        return {job.id for job in record.jobs if job.status == "succeeded"}
    return {best.id for jobs in finished if (best := best_job(jobs)) is not None}


def best_job(jobs: Sequence[Job]) -> Job | None:
    """The best by the metric that chose each job's weights, on validation: never by test.

    Diverged jobs take part with the best they reached; of equals, the first seed.
    """
    ranked = [(rank, job.seed, job.id, job) for job in jobs if (rank := _rank(job)) is not None]
    return min(ranked)[-1] if ranked else None


def _rank(job: Job) -> float | None:
    """Lower is better; None for a job that has no finite validation metric."""
    monitor = job.spec["early_stopping"]["monitor"]
    metric = monitor if monitor.startswith("val_") else "val_accuracy"
    value = job.metrics.get(f"best_{metric}")
    if job.status != "succeeded" or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return -value if metric.endswith("_accuracy") else value


def log_model(
    tracking: Tracking, record: JobToMirror, checkpoint: Checkpoint | None, storage: Path
) -> Outcome:
    """Exports the best checkpoint and uploads it; a model that can't be exported goes as a state dict."""
    assert record.mirrored is not None
    path = None if checkpoint is None else storage / checkpoint.path
    if checkpoint is None or path is None or not _is_whole(path, checkpoint.digest):
        return Outcome("missing", detail="its best checkpoint is gone")
    spec = JobSpec.model_validate(record.job.spec)
    info = _cut_info(spec, DatasetInfo.model_validate(record.dataset.info), storage)
    model = _restore(spec, info, path)
    tags = _input_tags(info)
    try:
        return Outcome("logged", _log_exported(tracking, record, model, info, tags))
    except Exception as error:  # the exporter meets models of every kind, and fails in every way
        if not tracking.is_up():
            raise
        log.warning("model_not_exported", job=record.job.id, exc_info=True)
        tracking.send_file(record.mirrored.run_id, "state_dict.pt", _state_dict(model))
        return Outcome("state_dict", detail=f"{type(error).__name__}: {error}")


def _restore(spec: JobSpec, info: DatasetInfo, path: Path) -> "nn.Module":
    import torch

    from trainer.checkpoint import restore_model

    torch.set_num_threads(1)
    return restore_model(spec, info, path)


def _log_exported(
    tracking: Tracking,
    record: JobToMirror,
    model: "nn.Module",
    info: DatasetInfo,
    tags: dict[str, str],
) -> str:
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import infer_signature

    assert record.mirrored is not None
    # Two examples: a dimension of size one would be fixed at that size.
    example = np.zeros((2, *info.shape), dtype=np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(example)).numpy()
    created = tracking.client.create_logged_model(
        record.mirrored.experiment_id,
        name=NAME,
        source_run_id=record.mirrored.run_id,
        tags={"normlab.job": str(record.job.id), **tags},
        model_type="classifier",
    )
    try:
        mlflow.pytorch.log_model(
            model,
            name=NAME,
            model_id=created.model_id,
            run_id=record.mirrored.run_id,
            step=kept_epoch(record.job),
            serialization_format="pt2",
            input_example=example,
            signature=infer_signature(example, logits),
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
    except BaseException:
        if tracking.is_up():
            tracking.client.delete_logged_model(created.model_id)
        raise
    return str(created.model_id)


def _cut_info(spec: JobSpec, info: DatasetInfo, storage: Path) -> DatasetInfo:
    """The registered info as the training saw it: resized, with its own split's mean and deviation."""
    from trainer.data import load
    from trainer.errors import DataError

    examples = info.train_size + (info.test_size or 0)
    if examples * math.prod(info.shape) <= _LARGEST_DATASET:
        try:
            return load(spec.dataset, info, storage / "datasets").info
        except (DataError, OSError):
            log.warning("dataset_not_readable", dataset=info.name, exc_info=True)
    size = spec.dataset.image_size
    shape = info.shape if size is None else (info.shape[0], size, size)
    return info.model_copy(update={"shape": shape})


def _input_tags(info: DatasetInfo) -> dict[str, str]:
    """How pixels become the model's inputs, and what its outputs mean."""
    return {
        "normlab.input": "(pixels / 255 - mean) / std",
        "normlab.input.mean": str(list(info.mean)),
        "normlab.input.std": str(list(info.std)),
        "normlab.classes": ", ".join(info.classes)[:5000],
    }


def _state_dict(model: "nn.Module") -> bytes:
    import torch

    content = io.BytesIO()
    torch.save(model.state_dict(), content)
    return content.getvalue()


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() == digest
    except OSError:
        return False
