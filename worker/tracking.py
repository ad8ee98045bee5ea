"""MLflow's server as the mirror needs it: explicit run ids, batches within its limits. Knows no SQL of ours.

Importing this module sets MLflow's client up for a process that would rather hear of an outage soon
than wait for its end, so it must come before any other import of mlflow.
"""

import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)

import mlflow  # noqa: E402 - after its settings
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import DatasetInput, LoggedModel, Metric, Param, RunTag, ViewType  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

METRICS_AT_ONCE, PARAMS_AT_ONCE, TAGS_AT_ONCE = 800, 100, 100
LONGEST_PARAM, LONGEST_TAG = 6000, 8000

#: Of an experiment: its page opens with the tabs of model training, ranked by validation.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "best/val_accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
}

T = TypeVar("T")


class Tracking:
    """One MLflow server. Remembers only which experiment is a project's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = MlflowClient(tracking_uri=url)
        self._experiments: dict[str, str] = {}
        # `log_model` has no argument for it.
        mlflow.set_tracking_uri(url)

    def is_up(self) -> bool:
        """Whether the server answers, so that an error is about what was asked of it."""
        try:
            with urlopen(f"{self.url.rstrip('/')}/health", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def experiment(self, project: str) -> str:
        """The id of the project's experiment; made, or restored when somebody has deleted it."""
        if project not in self._experiments:
            found = self.client.get_experiment_by_name(project)
            if found is None:
                experiment_id = self.client.create_experiment(project, tags=EXPERIMENT_TAGS)
            else:
                experiment_id = found.experiment_id
                self._adopt(experiment_id, found.lifecycle_stage, found.tags)
            self._experiments[project] = experiment_id
        return self._experiments[project]

    def create_run(
        self, experiment_id: str, name: str, started_at: datetime, tags: Mapping[str, str]
    ) -> str:
        run = self.client.create_run(
            experiment_id, start_time=milliseconds(started_at), run_name=name, tags=dict(tags)
        )
        return str(run.info.run_id)

    def find_run(self, experiment_id: str, tag: str, value: str) -> str | None:
        """The run of the experiment that carries this tag, deleted or not."""
        query = f"tags.`{tag}` = '{value}'"
        found = self.client.search_runs([experiment_id], query, ViewType.ALL, max_results=1)
        return str(found[0].info.run_id) if found else None

    def send(
        self,
        run_id: str,
        metrics: Iterable[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """All of it, in as few requests as the server's limits allow. A metric sent again is the same."""
        batches = itertools.zip_longest(
            _chunks(list(metrics), METRICS_AT_ONCE),
            _chunks([Param(*item) for item in (params or {}).items()], PARAMS_AT_ONCE),
            _chunks([RunTag(*item) for item in (tags or {}).items()], TAGS_AT_ONCE),
            fillvalue=(),
        )
        for some_metrics, some_params, some_tags in batches:
            self.client.log_batch(run_id, some_metrics, some_params, some_tags)

    def send_inputs(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        self.client.log_inputs(run_id, inputs)

    def send_file(self, run_id: str, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(content)
            self.client.log_artifact(run_id, str(path))

    def find_models(self, experiment_id: str, run_id: str) -> Sequence[LoggedModel]:
        """The logged models that the run has made, also those that were never finished."""
        return self.client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")

    def set_status(self, run_id: str, status: str, ended_at: datetime | None) -> None:
        if ended_at is None:
            self.client.update_run(run_id, status=status)
        else:
            self.client.set_terminated(run_id, status, milliseconds(ended_at))

    def delete_run(self, run_id: str, model_id: str | None = None) -> None:
        """Into MLflow's bin, its model with it; nothing happens where one is gone."""
        with suppress_missing():
            self.client.delete_run(run_id)
        if model_id is not None:
            with suppress_missing():
                self.client.delete_logged_model(model_id)

    def bring_back(self, run_id: str) -> Literal["unchanged", "restored", "gone"]:
        """Restores a run that somebody deleted, alone or with its experiment."""
        with suppress_missing():
            run = self.client.get_run(run_id)
            experiment = self.client.get_experiment(run.info.experiment_id)
            stages = (run.info.lifecycle_stage, experiment.lifecycle_stage)
            self._adopt(experiment.experiment_id, experiment.lifecycle_stage, experiment.tags)
            if run.info.lifecycle_stage == "deleted":
                self.client.restore_run(run_id)
            return "restored" if "deleted" in stages else "unchanged"
        return "gone"

    def forget_experiments(self) -> None:
        """Somebody may have deleted one: they are asked for again."""
        self._experiments.clear()

    def _adopt(self, experiment_id: str, stage: str, tags: Mapping[str, str]) -> None:
        if stage == "deleted":
            self.client.restore_experiment(experiment_id)
        for key, value in EXPERIMENT_TAGS.items():
            if key not in tags:
                self.client.set_experiment_tag(experiment_id, key, value)


def milliseconds(time: datetime) -> int:
    """MLflow's unit of time; the same for the same row of SQL, always."""
    return round(time.timestamp() * 1000)


def is_refused(error: Exception) -> bool:
    """The run or its experiment may have been deleted."""
    codes = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    return isinstance(error, MlflowException) and error.error_code in codes


@contextmanager
def suppress_missing() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _chunks(items: list[T], size: int) -> Iterable[list[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
