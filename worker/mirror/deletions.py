"""What people have deleted in MLflow, one run or a whole experiment: noticed, noted in SQL, respected. And what they have
deleted in Normlab: deleted in MLflow, too, for good.

A deleted run is neither restored nor created again nor written to; restored by people, it catches up. An
experiment comes back, without the runs that were deleted before it, when its project has something new.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import structlog
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy.orm import Session, sessionmaker

from store.db import Mirrored, Project
from store.deletions import leftovers
from store.mlflow import Subject, experiments, mirror, mirror_problems
from worker.mirror.experiments import PROJECT_TAG, Experiments, is_of
from worker.mirror.tracking import KEY_TAG, Tracking, suppress_missing

log = structlog.get_logger("worker.mirror")

DELETED = "its run was deleted in MLflow and is no longer written to; restored there, it catches up"
GONE = (
    "its run was deleted in MLflow for good: only a repair (normlab mirror verify --repair; in compose "
    "python -m worker.mirror --repair) sends it again"
)

Found = Literal["nothing", "deleted", "repaired"]


class Deletions:
    """Looks for deletions at intervals, and when MLflow refuses something."""

    def __init__(
        self, sessions: sessionmaker[Session], tracking: Tracking, known: Experiments
    ) -> None:
        self._sessions = sessions
        self._tracking = tracking
        self._experiments = known
        # Deleted for good. Only a restored backup of MLflow brings such a run back, and after the outage
        # that this takes, the mirror has a new instance of this class, which asks for each run once more.
        self._gone: set[str] = set()

    def search(self) -> None:
        """Compares SQL with what is deleted in MLflow now, in both directions."""
        self._experiments.delete_again()
        with self._sessions.begin() as session:
            projects = experiments.projects(session)
        if not projects:
            return
        before = self._tracking.experiments()
        self._search_experiments(projects, before)
        active = _active(projects, before)
        run_ids = self._tracking.deleted_runs(sorted(active), KEY_TAG)
        # An experiment that was deleted meanwhile took its runs along: those weren't deleted one by one.
        active &= _active(projects, self._tracking.experiments())
        self._note_deleted(run_ids, active)
        self._note_restored(run_ids, active)

    def explain(self, row: Mirrored) -> Found:
        """Why MLflow refused to write to this run, and whether what was in the way is gone now."""
        with self._sessions.begin() as session:
            project = experiments.project_of(session, row)
        experiment = self._tracking.read_experiment(row.experiment_id)
        if experiment is None or not is_of(experiment, project.name):
            self._forget(row)
            return "repaired"
        if experiment.lifecycle_stage == "deleted":
            self._experiments.restore(project.id, experiment.experiment_id)
            return "repaired"
        match self._tracking.stage_of(row.run_id):
            case "active":
                return "nothing"
            case "deleted":
                self._note(row, DELETED)
            case "gone":
                self._note(row, GONE)
        return "deleted"

    def _search_experiments(
        self, projects: Sequence[Project], known: Mapping[str, Experiment]
    ) -> None:
        with self._sessions.begin() as session:
            noted = mirror_problems.of_projects(session)
        for project in projects:
            experiment = known.get(project.experiment_id or "")
            if experiment is None or not is_of(experiment, project.name):
                continue
            is_deleted = experiment.lifecycle_stage == "deleted"
            if is_deleted and project.id not in noted:
                self._note_experiment(project, experiment)
            elif not is_deleted and project.id in noted:
                # Restored by people, and with it the runs that had been deleted before it.
                with self._sessions.begin() as session:
                    experiments.plan_deletions(session, experiment.experiment_id)
                self._experiments.settle(project.id)

    def _note_experiment(self, project: Project, experiment: Experiment) -> None:
        reason = (
            f"its experiment {experiment.name!r} was deleted in MLflow: "
            "it comes back when the project has something new"
        )
        log.info("experiment_deleted", experiment=experiment.experiment_id)
        with self._sessions.begin() as session:
            mirror_problems.note(session, Subject("experiment", project_id=project.id), reason)

    def _note_deleted(self, run_ids: set[str], active: set[str]) -> None:
        with self._sessions.begin() as session:
            rows = experiments.rows_of_runs(session, run_ids)
        for row in rows:
            if row.experiment_id in active:
                self._note(row, DELETED)

    def _note_restored(self, run_ids: set[str], active: set[str]) -> None:
        with self._sessions.begin() as session:
            rows = experiments.deleted_runs(session)
        still_deleted = run_ids | self._gone
        for row in rows:
            if row.experiment_id not in active or row.run_id in still_deleted:
                continue
            match self._tracking.stage_of(row.run_id):
                case "active":
                    log.info("run_restored", run=row.run_id)
                    with self._sessions.begin() as session:
                        mirror_problems.clear(session, _deletion_of(row))
                        experiments.send_again(session, row)
                case "gone":
                    self._note(row, GONE)
                    self._gone.add(row.run_id)
                case "deleted":
                    pass

    def _note(self, row: Mirrored, reason: str) -> None:
        with self._sessions.begin() as session:
            is_new = mirror_problems.note(session, _deletion_of(row), reason)
        if is_new:
            log.info("run_deleted", run=row.run_id, reason=reason)

    def _forget(self, row: Mirrored) -> None:
        """MLflow was lost or replaced: the run is created again."""
        log.info("run_gone", run=row.run_id)
        self._experiments.forget()
        with self._sessions.begin() as session:
            mirror.forget(session, row)


class Erasure:
    """Between passes, so that no run of theirs is being made meanwhile."""

    def __init__(self, sessions: sessionmaker[Session], tracking: Tracking) -> None:
        self._sessions = sessions
        self._tracking = tracking

    def run(self, settle: Callable[[], None]) -> int:
        """How many were done. What fails is tried again by the next pass. `settle` waits for what is being sent: MLflow
        would take it, though its run is gone."""
        with self._sessions.begin() as session:
            left = leftovers.find_runs(session)
            kept = {one.experiment_id for one in experiments.projects(session)}
        if any(one.mirrored for one in left):
            settle()
        done = []
        for one in left:
            try:
                if one.mirrored:
                    self._erase(one, kept)
            except MlflowException:
                if not self._tracking.is_up():
                    raise
                # The others don't wait for it.
                log.exception("run_not_erased", kind=one.kind, id=one.subject_id)
                continue
            with self._sessions.begin() as session:
                leftovers.note_runs_removed(session, [one.id])
            done.append(one.id)
        return len(done)

    def _erase(self, one: leftovers.LeftRun, kept: set[str | None]) -> None:
        experiment_id = str(one.mirrored["experiment_id"])
        if one.kind == "project":
            # Another project may have taken the experiment over with the name.
            if experiment_id not in kept and self._is_of(experiment_id, one.mirrored["project"]):
                self._tracking.erase((), experiment_id)
            return
        run_ids = {one.mirrored["run_id"]} if "run_id" in one.mirrored else set()
        with suppress_missing():
            if key := one.mirrored.get("key"):
                run_ids |= self._tracking.find_runs(experiment_id, KEY_TAG, key)
            # Earlier ones, which a repair or a rebuild has replaced.
            tag = f"normlab.{one.kind}"
            run_ids |= self._tracking.find_runs(experiment_id, tag, str(one.subject_id))
        is_gone = self._tracking.erase(run_ids)
        log.info("run_erased", kind=one.kind, id=one.subject_id, runs=len(run_ids), gone=is_gone)

    def _is_of(self, experiment_id: str, project: str) -> bool:
        experiment = self._tracking.read_experiment(experiment_id)
        return experiment is not None and experiment.tags.get(PROJECT_TAG) == project


def _deletion_of(row: Mirrored) -> Subject:
    return Subject("deleted", job_id=row.job_id, study_id=row.study_id)


def _active(projects: Sequence[Project], known: Mapping[str, Experiment]) -> set[str]:
    """The ids of the projects' experiments that are not deleted."""
    ids = {project.experiment_id for project in projects if project.experiment_id is not None}
    return {one for one in ids if one in known and known[one].lifecycle_stage == "active"}
