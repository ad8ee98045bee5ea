"""Which experiment in MLflow is a project's: found by its id, whatever people call it there."""

import base64
import json
import zlib
from collections.abc import Callable

import structlog
from mlflow.entities import Experiment
from sqlalchemy.orm import Session, sessionmaker

from store.mlflow import Subject, experiments, links, mirror_problems
from worker.mirror.tracking import Tracking

log = structlog.get_logger("worker.mirror")

#: Every experiment's tag with its project's name: ids start again in a new MLflow.
PROJECT_TAG = "normlab.project"

#: The columns of a view that every experiment has; MLflow shows neither metrics nor tags unless they are chosen.
VIEW_COLUMNS = (
    "metrics.`best/val_accuracy`", "metrics.`best/val_loss`", "metrics.`best/epoch`", "metrics.`test/accuracy`",
    "tags.`normlab.variant`", "tags.`normlab.seed`", "tags.`normlab.status`",
)  # fmt: skip


def _make_view() -> str:
    """A saved view of MLflow's table of runs, as its page writes them: all jobs, the best on validation first."""
    state = {
        "searchFilter": "",
        "orderByKey": "metrics.`best/val_accuracy`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": VIEW_COLUMNS,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": "Normlab: results", "createdAt": 0, "updatedAt": 0}
    return json.dumps({**view, "state": f"deflate;{packed}"})


#: Of an experiment: its page opens with the tabs of model training, ranked by validation.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "best/val_accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    f"mlflow.sharedViewState.{links.VIEW}": _make_view(),
}


class Experiments:
    """The experiments of projects; remembers those that it has looked up."""

    def __init__(self, sessions: sessionmaker[Session], tracking: Tracking) -> None:
        self._sessions = sessions
        self._tracking = tracking
        self._ids: dict[int, str] = {}

    def id_of(self, project_id: int, project: str) -> str:
        """The id of the project's experiment: made if there is none, restored if it was deleted."""
        if project_id not in self._ids:
            self._ids[project_id] = self._look_up(project_id, project)
        return self._ids[project_id]

    def forget(self) -> None:
        """Somebody may have deleted one: they are looked up again."""
        self._ids.clear()

    def restore(self, project_id: int, experiment_id: str) -> None:
        """Restores the experiment; the runs that were deleted one by one before it stay deleted."""
        with self._sessions.begin() as session:
            experiments.plan_deletions(session, experiment_id)
        self._tracking.restore_experiment(experiment_id)
        log.info("experiment_restored", experiment=experiment_id)
        self.settle(project_id)

    def settle(self, project_id: int) -> None:
        """The project's experiment is there again: what is planned to be deleted again is."""
        self.delete_again()
        with self._sessions.begin() as session:
            mirror_problems.clear(session, Subject("experiment", project_id=project_id))

    def delete_again(self) -> None:
        """Carries out what was planned, also by a mirror that ended in between."""
        with self._sessions.begin() as session:
            rows = experiments.planned_deletions(session)
        for row in rows:
            self._tracking.delete_run(row.run_id)
            with self._sessions.begin() as session:
                experiments.note_deletion(session, row.id)

    def _look_up(self, project_id: int, project: str) -> str:
        with self._sessions.begin() as session:
            experiment_id = experiments.experiment_of(session, project_id)
        experiment = (
            None if experiment_id is None else self._tracking.read_experiment(experiment_id)
        )
        if experiment is None or not is_of(experiment, project):
            experiment = self._by_name(project)
        if experiment is None:
            found = self._create(project)
        else:
            found = experiment.experiment_id
            self._adopt(experiment, project_id, project)
        with self._sessions.begin() as session:
            experiments.set_experiment(session, project_id, found)
        return found

    def _by_name(self, project: str) -> Experiment | None:
        """The experiment of the project's name, unless it belongs to another project."""
        experiment = self._tracking.find_experiment(project)
        return experiment if experiment is not None and is_of(experiment, project) else None

    def _create(self, project: str) -> str:
        """Under the project's name, or one like it where people gave that to another project's."""
        name = free_name(project, lambda name: self._tracking.find_experiment(name) is None)
        return self._tracking.create_experiment(name, {**EXPERIMENT_TAGS, PROJECT_TAG: project})

    def _adopt(self, experiment: Experiment, project_id: int, project: str) -> None:
        if experiment.lifecycle_stage == "deleted":
            self.restore(project_id, experiment.experiment_id)
        self._tracking.tag_experiment(experiment, {**EXPERIMENT_TAGS, PROJECT_TAG: project})


def is_of(experiment: Experiment, project: str) -> bool:
    """Whether the experiment is this project's, or has no project yet."""
    return bool(experiment.tags.get(PROJECT_TAG, project) == project)


def free_name(project: str, is_free: Callable[[str], bool]) -> str:
    """The project's name, with a number where that is taken."""
    name, number = project, 2
    while not is_free(name):
        name, number = f"{project} ({number})", number + 1
    return name
