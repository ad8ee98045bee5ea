"""Rows as the store leaves them, and MLflow as a reader sees it; for the tests of the mirror."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from store.db.engine import notify_jobs
from store.db.models import Epoch, Job, MirrorProblem, Project, Study, Transition, User
from studies.figures.__main__ import render
from studies.rendering import Renderer
from studies.report import ReportInput
from tests.support.factories import find_digits
from trainer.spec.job import JobSpec
from worker.mirror.__main__ import Settings

BEGIN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
_unique = count(1)

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "model": {"name": "cnn", "width": 2},
    "norm": {"kind": "group", "groups": 2},
    "regularization": [
        {"kind": "weight_decay", "value": 5e-4},
        {"kind": "dropout", "p": 0.2},
    ],
    "augmentation": [{"kind": "rotate", "degrees": 15.0}],
    "early_stopping": {"kind": "patience", "patience": 5},
}


@dataclass(frozen=True, slots=True)
class ProjectRows:
    """A project of its own, so that tests that share an MLflow server don't meet."""

    sessions: sessionmaker[Session]
    project: str
    owner_id: int
    project_id: int
    dataset_id: int

    def add_study(self, name: str = "norms", **fields: Any) -> int:
        spec = {
            "version": 1,
            "project": self.project,
            "name": name,
            "base": {"dataset": {"name": "digits"}},
            "variants": {"batch": {}, "group": {}},
            "seeds": 2,
            "baseline": "batch",
            "metric": "test_accuracy",
            "models": "none",
            **fields,
        }
        with self.sessions.begin() as session:
            study = Study(
                project_id=self.project_id,
                owner_id=self.owner_id,
                name=name,
                spec=spec,
                planned_seeds=[0, 1],
            )
            session.add(study)
            session.flush()
            return study.id

    def add_job(
        self, *, study: int | None = None, variant: str = "group", seed: int = 0, **changed: Any
    ) -> int:
        spec = JobSpec.model_validate({**SPEC, "project": self.project, "seed": seed, **changed})
        with self.sessions.begin() as session:
            job = Job(
                project_id=self.project_id,
                owner_id=self.owner_id,
                dataset_id=self.dataset_id,
                study_id=study,
                name=f"{variant} | seed {seed}",
                variant=variant,
                seed=seed,
                spec=spec.model_dump(mode="json"),
                hash="0" * 32,
                timeout_seconds=3600,
                created_at=BEGIN,
            )
            session.add(job)
            session.flush()
            return job.id

    def change(self, job_id: int, **fields: Any) -> None:
        with self.sessions.begin() as session:
            job = session.get_one(Job, job_id)
            for name, value in fields.items():
                setattr(job, name, value)
            job.changed_at = func.clock_timestamp()
            notify_jobs(session, [job_id])

    def start(self, job_id: int) -> None:
        self.change(job_id, status="running", attempt=1, started_at=BEGIN)

    def train(self, job_id: int, epochs: Sequence[int], **fields: Any) -> None:
        """Records these epochs, as an attempt would."""
        with self.sessions.begin() as session:
            session.add_all(_epoch(job_id, number, **fields) for number in epochs)
            session.get_one(Job, job_id).changed_at = func.clock_timestamp()
            notify_jobs(session, [job_id])

    def finish(self, job_id: int, epochs: int, accuracy: float = 0.9, **fields: Any) -> None:
        values = {
            "status": "succeeded",
            "reason": "completed",
            "finished_at": BEGIN + timedelta(minutes=5),
            "seconds_used": 12.5,
            "metrics": {
                "best_val_loss": 1 - accuracy,
                "best_val_accuracy": accuracy,
                "best_epoch": epochs,
                "epochs": epochs,
                "test_loss": 0.5,
                "test_accuracy": accuracy,
            },
        }
        self.change(job_id, **{**values, **fields})

    def end(self, job_id: int, status: str, **fields: Any) -> None:
        """As the store ends a job: with the history of it."""
        with self.sessions.begin() as session:
            who = {"who": "the tests", "why": status, "from_status": "running", "to_status": status}
            session.add(Transition(job_id=job_id, **who))
        self.finish(job_id, 1, status=status, **fields)

    def add_finished_job(self, epochs: int = 3, accuracy: float = 0.9, **fields: Any) -> int:
        job_id = self.add_job(**fields)
        self.start(job_id)
        self.train(job_id, range(1, epochs + 1))
        self.finish(job_id, epochs, accuracy)
        return job_id


def make_project_rows(sessions: sessionmaker[Session]) -> ProjectRows:
    number = next(_unique)
    with sessions.begin() as session:
        owner = User(name=f"ada{number}", role="member")
        session.add(owner)
        session.flush()
        dataset = find_digits(session)
        project = Project(name=f"project {number} {datetime.now(UTC):%H%M%S%f}", owner_id=owner.id)
        session.add(project)
        session.flush()
        return ProjectRows(sessions, project.name, owner.id, project.id, dataset.id)


def _epoch(job_id: int, number: int, **fields: Any) -> Epoch:
    values = {
        "attempt": 1,
        "step": number * 10,
        "train_loss": 1 / number,
        "train_cost": 1.5 / number,
        "train_accuracy": 1 - 0.5 / number,
        "val_loss": 1.25 / number,
        "val_accuracy": 1 - 0.75 / number,
        "learning_rate": 0.05,
        "seconds": 0.25,
        "recorded_at": BEGIN + timedelta(seconds=number, microseconds=123),
    }
    return Epoch(job_id=job_id, epoch=number, **{**values, **fields})


def problems(project_rows: ProjectRows) -> dict[str, list[MirrorProblem]]:
    """What MLflow lacks, by whose it is: `job 3`."""
    groups: dict[str, list[MirrorProblem]] = {}
    with project_rows.sessions.begin() as session:
        for row in session.scalars(select(MirrorProblem).order_by(MirrorProblem.id)):
            owners = {"job": row.job_id, "study": row.study_id, "project": row.project_id}
            [name] = [f"{kind} {number}" for kind, number in owners.items() if number is not None]
            groups.setdefault(name, []).append(row)
    return groups


class RendererHere(Renderer):
    """Draws in this process: where that happens changes no picture, and a process takes a second to start."""

    def render(self, content: bytes, *arguments: str) -> bytes:
        assert arguments == ("report",)
        return render(ReportInput.model_validate_json(content), "report")


def mirror_environment(settings: Settings) -> dict[str, str]:
    """Of one that doesn't give way to the other tests, which may use both cores for minutes."""
    assert settings.mlflow_token is not None
    return {
        **os.environ,
        "NORMLAB_BACKGROUND_NICE": "0",
        "NORMLAB_DATABASE_URL": settings.database_url,
        "NORMLAB_MLFLOW_URL": settings.mlflow_url,
        "NORMLAB_MLFLOW_TOKEN": settings.mlflow_token.get_secret_value(),
        "NORMLAB_STORAGE": str(settings.storage),
    }


@dataclass(frozen=True, slots=True)
class Reader:
    """MLflow as somebody else reads it."""

    client: MlflowClient

    def runs(self, project: str, view: str = ViewType.ACTIVE_ONLY) -> list[Run]:
        experiment = self.client.get_experiment_by_name(project)
        if experiment is None:
            return []
        return list(self.client.search_runs([experiment.experiment_id], run_view_type=view))

    def run_of(self, project: str, **tags: Any) -> Run:
        """The one active run with these `normlab.` tags, parents only where a study is asked for."""
        found = [
            run
            for run in self.runs(project)
            if all(run.data.tags.get(f"normlab.{key}") == str(tags[key]) for key in tags)
            and ("normlab.job" in run.data.tags) == ("job" in tags)
        ]
        assert len(found) == 1, f"{len(found)} runs have {tags}"
        return found[0]

    def points(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """(step, value) as `runs/get-history` answers."""
        history = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value) for point in history)

    def files(self, run: Run) -> Mapping[str, int]:
        return {one.path: one.file_size for one in self.client.list_artifacts(run.info.run_id)}
