"""MLflow's server as the mirror needs it: explicit run ids, batches within its limits.

Importing this module sets MLflow's client up for a process that would rather hear of an outage soon
than wait for its end, so it must come before any other import of mlflow.
"""

import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
    # It would ask for each run that ends, and print an address of it: the one inside this network.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)
# For the headers of each request MLflow's client asks five times for this module, which only Databricks has, and
# Python looks through all folders each time.
sys.modules.setdefault("dbruntime", None)  # type: ignore[arg-type]

import mlflow  # noqa: E402 - after its settings
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    DatasetInput,
    Experiment,
    LoggedModel,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.utils.credentials import get_default_host_creds  # noqa: E402
from mlflow.utils.rest_utils import http_request, http_request_safe  # noqa: E402

from worker.mirror.limits import batches  # noqa: E402

METRICS_AT_ONCE, PARAMS_AT_ONCE, TAGS_AT_ONCE = 800, 100, 100
EXPERIMENTS_AT_ONCE = 100

#: On every run: under which it is found when the mirror died before it had noted the run's id.
KEY_TAG = "normlab.key"

T = TypeVar("T")


def log_in(token: str) -> None:
    """Whatever this process, and the helpers that it starts, send to MLflow is sent as the mirror."""
    # MLflow's client takes these before a token, and before what a person's ~/.mlflow/credentials says.
    os.environ["MLFLOW_TRACKING_USERNAME"] = "normlab-mirror"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = token


class RunDeleted(Exception):
    """Somebody has deleted the run."""


class Tracking:
    """One MLflow server. Safe for many threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = MlflowClient(tracking_uri=url)
        self._inputs_turn = threading.Lock()
        # `log_model` has no argument for it.
        mlflow.set_tracking_uri(url)

    def is_up(self) -> bool:
        """Whether the server and its database answer, so that an error is about what was asked of it."""
        try:
            with urlopen(f"{self.url.rstrip('/')}/health", timeout=5) as answer:  # noqa: S310
                if answer.status != 200:
                    return False
            self.client.search_experiments(max_results=1)
        except (URLError, OSError, MlflowException):
            return False
        return True

    def experiments(self) -> dict[str, Experiment]:
        """All of them by id, deleted ones as well."""
        found: dict[str, Experiment] = {}
        token: str | None = None
        while True:
            page = self.client.search_experiments(ViewType.ALL, max_results=1000, page_token=token)
            found |= {one.experiment_id: one for one in page}
            if not (token := page.token):
                return found

    def find_experiment(self, name: str) -> Experiment | None:
        return self.client.get_experiment_by_name(name)

    def read_experiment(self, experiment_id: str) -> Experiment | None:
        """The experiment, deleted or not; None: there is no such one."""
        with suppress_missing():
            return self.client.get_experiment(experiment_id)
        return None

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        return str(self.client.create_experiment(name, tags=dict(tags)))

    def tag_experiment(self, experiment: Experiment, tags: Mapping[str, str]) -> None:
        """Sets those of these tags that the experiment doesn't have yet."""
        for key, value in tags.items():
            if key not in experiment.tags:
                self.client.set_experiment_tag(experiment.experiment_id, key, value)

    def restore_experiment(self, experiment_id: str) -> None:
        """MLflow restores all of its runs with it, those that were deleted before it as well."""
        self.client.restore_experiment(experiment_id)

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
        requests = itertools.zip_longest(
            batches(((one.key, "", one) for one in metrics), METRICS_AT_ONCE),
            batches(((*item, Param(*item)) for item in (params or {}).items()), PARAMS_AT_ONCE),
            batches(((*item, RunTag(*item)) for item in (tags or {}).items()), TAGS_AT_ONCE),
            fillvalue=(),
        )
        for some_metrics, some_params, some_tags in requests:
            self.client.log_batch(run_id, some_metrics, some_params, some_tags)

    def send_inputs(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """One after another: MLflow looks for a dataset before it adds it, so that of two requests that both found
        none, the second fails."""
        with self._inputs_turn:
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

    def delete_run(self, run_id: str) -> None:
        """Into MLflow's bin; nothing happens where it is gone."""
        with suppress_missing():
            self.client.delete_run(run_id)

    def retire_run(self, run_id: str, model_id: str | None = None) -> None:
        """Deletes a run that has a successor, and its model. Without its key tag the mirror ignores it."""
        with suppress(MlflowException):
            self.client.delete_tag(run_id, KEY_TAG)
        self.delete_run(run_id)
        if model_id is not None:
            with suppress_missing():
                self.client.delete_logged_model(model_id)

    def erase(self, run_ids: Collection[str], experiment_id: str | None = None) -> bool:
        """Deletes the runs, with their files and models, and all of the experiment, for good. False from a server without
        Normlab's login: they are in its bin then."""
        body = {"runs": sorted(run_ids), "experiment": experiment_id}
        answer = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(self.url),  # type: ignore[no-untyped-call]
            "/normlab/erase",
            "POST",
            json=body,
            raise_on_status=False,
        )
        if answer.status_code == 200:
            return True
        if answer.status_code not in (404, 405):
            raise MlflowException(f"/normlab/erase was answered with {answer.status_code}")
        for run_id in run_ids:
            self.delete_run(run_id)
        if experiment_id is not None:
            with suppress_missing():
                self.client.delete_experiment(experiment_id)
        return False

    def find_runs(self, experiment_id: str, tag: str, value: str) -> set[str]:
        """The ids of the experiment's runs that carry this tag, deleted or not."""
        query = f"tags.`{tag}` = '{value}'"
        return {run.info.run_id for run in self._search([experiment_id], query, ViewType.ALL)}

    def read_runs(self, run_ids: Sequence[str], experiment_ids: Collection[str]) -> dict[str, Run]:
        """Those that there are, deleted or not, by id."""
        if not run_ids:
            return {}
        named = ", ".join(f"'{one}'" for one in run_ids)
        query = f"attributes.run_id IN ({named})"
        page = self.client.search_runs(
            sorted(experiment_ids), query, ViewType.ALL, max_results=len(run_ids)
        )
        return {run.info.run_id: run for run in page}

    def active_runs(self, experiment_ids: Sequence[str]) -> Iterator[Run]:
        """All that aren't deleted."""
        return self._search(experiment_ids, "", ViewType.ACTIVE_ONLY)

    def history(self, run_ids: Sequence[str], metric: str) -> Iterator[tuple[str, int, float]]:
        """Run, step and value of each point of this metric, 25,000 at most, of at most 100 runs."""
        answer = http_request_safe(  # type: ignore[no-untyped-call]
            get_default_host_creds(self.url),  # type: ignore[no-untyped-call]
            "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
            "GET",
            params={"run_id": list(run_ids), "metric_key": metric},
        )
        for point in answer.json()["metrics"]:
            yield point["run_id"], int(point["step"]), float(point["value"])

    def stage_of(self, run_id: str) -> Literal["active", "deleted", "gone"]:
        with suppress_missing():
            run = self.client.get_run(run_id)
            return "deleted" if run.info.lifecycle_stage == "deleted" else "active"
        return "gone"

    def ensure_active(self, run_id: str) -> None:
        """Raises RunDeleted. MLflow itself takes files and models of deleted runs without a word."""
        stage = self.stage_of(run_id)
        if stage != "active":
            raise RunDeleted(f"run {run_id} is {stage}")

    def deleted_runs(self, experiment_ids: Sequence[str], tag: str) -> set[str]:
        """Ids of the deleted runs of these experiments that carry this tag."""
        query = f"tags.`{tag}` LIKE '%'"
        found = self._search(experiment_ids, query, ViewType.DELETED_ONLY)
        return {run.info.run_id for run in found}

    def _search(self, experiment_ids: Sequence[str], query: str, view: int) -> Iterator[Run]:
        for some in _chunks(list(experiment_ids), EXPERIMENTS_AT_ONCE):
            token: str | None = None
            while True:
                page = self.client.search_runs(some, query, view, 1000, page_token=token)
                yield from page
                if not (token := page.token):
                    break


def milliseconds(time: datetime) -> int:
    """MLflow's unit of time; the same for the same row of SQL, always."""
    return round(time.timestamp() * 1000)


def is_refused(error: Exception) -> bool:
    """Whether the run or its experiment may have been deleted."""
    codes = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    return isinstance(error, RunDeleted) or (
        isinstance(error, MlflowException) and error.error_code in codes
    )


@contextmanager
def suppress_missing() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _chunks(items: list[T], size: int) -> Iterable[list[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
