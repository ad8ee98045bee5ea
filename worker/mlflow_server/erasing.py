"""What MLflow's REST interface can't do: delete runs and experiments for good, as `mlflow gc` does on the server's host."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope


class Erasure(BaseModel):
    """These runs with their files and logged models, and this experiment with all that is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: Annotated[list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]], Field(max_length=1000)]
    experiment: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] | None = None


async def answer(scope: Scope, receive: Receive) -> Response:
    """Of a request of the mirror."""
    try:
        asked = Erasure.model_validate_json(await Request(scope, receive).body())
    except ValidationError as error:
        return JSONResponse({"error_code": "INVALID_PARAMETER_VALUE", "message": str(error)}, 400)
    await asyncio.to_thread(erase, asked)
    return JSONResponse({})


def erase(asked: Erasure) -> None:
    """What is gone already is no error: a request whose answer was lost comes again."""
    # The server has imported them; whoever imports this module need not.
    from mlflow.entities import ViewType
    from mlflow.server.handlers import _get_tracking_store

    store: Any = _get_tracking_store()
    run_ids = list(asked.runs)
    if asked.experiment is not None:
        while page := store.search_runs([asked.experiment], "", ViewType.ALL, 1000):
            _erase_runs(store, [run.info.run_id for run in page])
    _erase_runs(store, run_ids)
    if asked.experiment is not None:
        _erase_experiment(store, asked.experiment)


def _erase_runs(store: Any, run_ids: Sequence[str]) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlLoggedModel

    for run_id in run_ids:
        with store.ManagedSessionMaker() as session:
            models = session.query(SqlLoggedModel).filter_by(source_run_id=run_id).all()
            places = {one.model_id: one.artifact_location for one in models}
        for model_id, place in places.items():
            _delete_files(place)
            _missing_is_fine(store._hard_delete_logged_model, model_id)
        run = _missing_is_fine(store.get_run, run_id)
        if run is not None:
            _delete_files(run.info.artifact_uri)
            _missing_is_fine(store._hard_delete_run, run_id)


def _erase_experiment(store: Any, experiment_id: str) -> None:
    from mlflow.entities import LifecycleStage

    experiment = _missing_is_fine(store.get_experiment, experiment_id)
    if experiment is None:
        return
    if experiment.lifecycle_stage != LifecycleStage.DELETED:
        store.delete_experiment(experiment_id)
    _missing_is_fine(store._hard_delete_experiment, experiment_id)


def _delete_files(place: str) -> None:
    """Below the server's own folder or bucket, which is behind this address; what lies elsewhere nobody of us wrote."""
    from mlflow.server import handlers

    if not place.startswith("mlflow-artifacts:"):
        return
    served: Any = handlers
    path = served._get_proxied_run_artifact_destination_path(place)
    ensure_within(path)
    served._get_artifact_repo_mlflow_artifacts().delete_artifacts(path)


def ensure_within(path: str) -> None:
    """Raises ValueError unless the path leads into a folder below the one it is relative to: of an empty path everything
    would be deleted."""
    parts = path.split("/")
    if not all(parts) or ".." in parts:
        raise ValueError(f"{path!r} is no folder of a run")


def _missing_is_fine(action: Any, *arguments: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return action(*arguments)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
