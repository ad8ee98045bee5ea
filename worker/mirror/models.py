"""Which jobs' models belong in MLflow, and the helper that puts them there.

The helper (`worker.mirror.model_export`) is a process of its own: what exporting costs in memory ends with it,
and a model that crashes or hangs it takes nothing else along.
"""

import math
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runtime.files import DamagedFile, read_verified
from runtime.helper_process import HelperProcess
from runtime.storage import Storage, StorageError, fetch_folder
from runtime.supervision import HelperGone, Limits, OverLimit
from store.db import FINAL_STATUSES, Checkpoint, Job
from store.mlflow import JobToMirror, StudyToMirror
from studies.spec import arm_name
from worker.mirror.runs import kept_epoch

EXPORT_SECONDS = 600.0
#: The helper that exports waits so long for another model.
IDLE_SECONDS = 60.0
#: An export whose process was killed or hung is tried so often: mostly memory was short, which passes.
EXPORT_TRIES = 3
HELPER = (sys.executable, "-m", "worker.mirror.model_export")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a model: its id where it was logged, else why it wasn't."""

    kind: Literal["logged", "state_dict", "missing", "failed"]
    model_id: str | None = None
    detail: str = ""

    @property
    def is_sent(self) -> bool:
        """Whether MLflow has the weights, exported or not."""
        return self.kind in ("logged", "state_dict")


class ExportError(Exception):
    """The helper could not reach what it needs; the same model may be tried again."""


class ExportBroken(Exception):
    """The helper was killed, hung or had no memory left over a model, which is tried again after a pause."""

    #: Seconds before the second try; twice as many before the third.
    pause = 60.0


def models_wanted(record: StudyToMirror) -> set[int]:
    """The jobs of a study whose models belong in MLflow; of `best`, those of arms that are over."""
    policy = record.study.spec.get("models", "best")
    if policy == "none":
        return set()
    jobs = [job for job in record.jobs if job.trial is None]
    if policy == "all":
        return {job.id for job in jobs if job.status == "succeeded"}
    arms: dict[str, list[Job]] = {}
    for job in jobs:
        arms.setdefault(arm_name(job.variant or "", job.point), []).append(job)
    over = [jobs for jobs in arms.values() if all(job.status in FINAL_STATUSES for job in jobs)]
    return {best.id for jobs in over if (best := best_job(jobs)) is not None}


def best_job(jobs: Sequence[Job]) -> Job | None:
    """The best by the metric that chose each job's weights, on validation: never by test.

    Diverged jobs take part with the best they reached; of equals, the first seed.
    """
    ranked = [(rank, job.seed, job.id, job) for job in jobs if (rank := _rank(job)) is not None]
    return min(ranked)[-1] if ranked else None


def _rank(job: Job) -> float | None:
    """Lower is better; None for a job that has no finite validation metric."""
    monitor = job.spec["early_stopping"]["monitor"]
    fallback = "val_accuracy" if "best_val_accuracy" in job.metrics else "val_loss"
    metric = monitor if monitor.startswith("val_") else fallback
    value = job.metrics.get(f"best_{metric}")
    if job.status != "succeeded" or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return -value if metric.endswith("_accuracy") else value


class ModelLogger:
    """Hands models to the helper, one after another. It takes seconds to import torch and MLflow, and holds
    hundreds of megabytes: so it stays for the next model, and ends when there has been none for a while."""

    def __init__(
        self,
        mlflow_url: str,
        storage: Storage,
        *,
        helper: Sequence[str] = HELPER,
        seconds: float = EXPORT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._command = [*helper, mlflow_url, str(storage.root / "datasets")]
        self._storage = storage
        # Of the time alone: memory that is short shows as a kill or an error, and passes.
        self._limits = Limits(wall_seconds=seconds)
        self._idle_seconds = idle_seconds
        self._process: HelperProcess | None = None
        self._used_at = 0.0
        self._is_stopped = False

    def log_model(
        self, record: JobToMirror, checkpoint: Checkpoint | None, number: int = 1
    ) -> Outcome:
        """The try of this number, from 1. Raises ExportError when MLflow or the storage was away, and ExportBroken when a
        model broke the helper, unless it was the last try."""
        path = None if checkpoint is None else self._fetch(record, checkpoint)
        if path is None:
            return Outcome("missing", detail="its best checkpoint is gone")
        if number > EXPORT_TRIES:
            return _given_up("the mirror ended while it was exported")
        answer = self._ask(_request(record, path, may_retry=number < EXPORT_TRIES))
        if isinstance(answer, str):
            if number == EXPORT_TRIES:
                return _given_up(answer)
            raise ExportBroken(f"{answer} (try {number} of {EXPORT_TRIES})")
        if answer.get("away"):
            raise ExportError(answer["away"])
        return Outcome(**answer)

    def close_if_idle(self, *, at_once: bool = False) -> None:
        """Ends the helper when it has had nothing to do for `idle_seconds`, or `at_once`: its memory is needed.
        Not beside `log_model`."""
        if at_once or time.monotonic() - self._used_at > self._idle_seconds:
            self.close()

    def stop(self) -> None:
        """Ends what is exported, at once; nothing begins any more. May be called beside `log_model`."""
        self._is_stopped = True
        # Not closed: whoever talks to it does that.
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """Ends the helper. Not beside `log_model`."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _fetch(self, record: JobToMirror, checkpoint: Checkpoint) -> Path | None:
        """Where the weights are on this host, with the dataset beside them; None where they are damaged or gone."""
        try:
            path = self._storage.fetch(checkpoint.path, checkpoint.digest)
            read_verified(path, checkpoint.digest)
            # Without the dataset the example is zeros, and the model is whole.
            if (info := record.dataset.info) is not None:
                with suppress(DamagedFile):
                    fetch_folder(self._storage, f"datasets/{info['digest']}")
        except (DamagedFile, FileNotFoundError):
            return None
        except StorageError as error:
            raise ExportError(str(error)) from error
        return path

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | str:
        """The helper's answer, or what broke it instead."""
        process = self._process = self._process or HelperProcess.start(self._command)
        try:
            if self._is_stopped:
                raise ExportError("the mirror is being stopped")
            answer = process.exchange(request, self._limits)
        except HelperGone as error:
            self.close()
            subject = "the export" if isinstance(error, OverLimit) else "the export's process"
            return f"{subject} {error}"
        finally:
            self._used_at = time.monotonic()
        if out_of_memory := answer.get("out_of_memory"):
            self.close()
            return f"the export had not enough memory: {out_of_memory}"
        return answer


def _given_up(reason: str) -> Outcome:
    return Outcome("failed", detail=f"{reason}; it was tried {EXPORT_TRIES} times")


def _request(record: JobToMirror, path: Path, *, may_retry: bool) -> dict[str, Any]:
    assert record.mirrored is not None
    return {
        "may_retry": may_retry,
        "job": record.job.id,
        "spec": record.job.spec,
        "info": record.dataset.info,
        "path": str(path),
        "run_id": record.mirrored.run_id,
        "experiment_id": record.mirrored.experiment_id,
        "epoch": kept_epoch(record.job),
    }
