"""The best weights of the right jobs become models that `mlflow.pytorch.load_model` loads."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pytorch
import pytest
import torch
from mlflow.entities import RunInfo
from sqlalchemy import select

from runtime.helper_process import HelperProcess
from runtime.storage import FolderStorage
from runtime.supervision import Limits
from store.db.models import Checkpoint, Job, Mirrored
from store.mlflow import exports
from tests.support.mirrored import SPEC, ProjectRows, Reader, problems
from tests.support.trainings import save_weights
from trainer.models.build import build_model
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec
from trainer.training.checkpoint import restore_model
from worker.mirror.__main__ import Settings, drain
from worker.mirror.exports import Exports, ModelExport
from worker.mirror.model_export import answer
from worker.mirror.models import HELPER, ExportError, ModelLogger, best_job
from worker.mirror.tracking import Tracking

# Exporting imports parts of torch and MLflow that use what they themselves have deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*is inferred as AnyType"
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True, slots=True)
class KeptHelper:
    """A helper that outlives the mirror that closes it."""

    process: HelperProcess

    def exchange(self, request: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
        return self.process.exchange(request, limits)

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def kept_helper(
    mlflow_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeptHelper]:
    """The one that exports in production: it takes seconds to import torch and MLflow."""
    datasets = tmp_path_factory.mktemp("datasets")
    process = HelperProcess.start([*HELPER, mlflow_server, str(datasets)])
    yield KeptHelper(process)
    process.close()


@pytest.fixture
def export_helper(kept_helper: KeptHelper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mirror of the test asks the same helper."""
    monkeypatch.setattr("worker.mirror.models.HelperProcess.start", lambda _: kept_helper)


def add_weights(project_rows: ProjectRows, storage: Path, job_id: int) -> Path:
    """A best checkpoint of the job, as training leaves it."""
    with project_rows.sessions.begin() as session:
        job = session.get_one(Job, job_id)
        spec = JobSpec.model_validate(job.spec)
        path = storage / "jobs" / str(job_id) / "attempt-1" / "best.pt"
        saved = save_weights(build_model(spec, BUILT_IN["digits"]), path)
        relative = str(path.relative_to(storage))
        session.add(
            Checkpoint(
                job_id=job_id, attempt=1, kind="best", epoch=2, step=20,
                path=relative, digest=saved.digest, bytes=saved.bytes,
            )
        )  # fmt: skip
    return path


def request_of(job_id: int, spec: JobSpec, path: Path, run: RunInfo) -> dict[str, Any]:
    """As the mirror asks its helper."""
    return {
        "job": job_id,
        "spec": spec.model_dump(mode="json"),
        "info": BUILT_IN[spec.dataset.name].model_dump(mode="json"),
        "path": str(path),
        "run_id": run.run_id,
        "experiment_id": run.experiment_id,
        "epoch": 2,
        "may_retry": True,
    }


def request_of_job(
    project_rows: ProjectRows, reader: Reader, job: int, path: Path
) -> dict[str, Any]:
    """Of a job that is in MLflow."""
    spec = JobSpec.model_validate(spec_of(project_rows, job))
    return request_of(job, spec, path, reader.run_of(project_rows.project, job=job).info)


def models_of(reader: Reader, project: str) -> list[Any]:
    experiment = reader.client.get_experiment_by_name(project)
    return list(reader.client.search_logged_models([experiment.experiment_id]))


@pytest.mark.usefixtures("export_helper")
def test_a_logged_model_predicts_what_the_checkpoint_predicts(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_finished_job(epochs=2)
    path = add_weights(project_rows, settings.storage.root, job)
    assert drain(settings, tracking) == 0
    run = reader.run_of(project_rows.project, job=job)
    (logged,) = models_of(reader, project_rows.project)
    assert logged.status == "READY"
    assert logged.source_run_id == run.info.run_id
    assert run.data.tags["normlab.model"] == "logged"
    assert run.outputs.model_outputs[0].model_id == logged.model_id
    assert {one.key: one.value for one in logged.metrics}["test/accuracy"] == 0.9
    assert logged.tags["normlab.input.mean"].startswith("[0.30")
    assert (logged.model_type, logged.tags["normlab.task"]) == ("classification", "classification")

    model = mlflow.pytorch.load_model(f"models:/{logged.model_id}")
    spec = JobSpec.model_validate({"dataset": {"name": "digits"}, **spec_of(project_rows, job)})
    original = restore_model(spec, BUILT_IN["digits"], path)
    inputs = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(inputs), original(inputs))
    # As its note says: it is in evaluation mode for good.
    assert "raise NotImplementedError" in logged.tags["mlflow.note.content"].replace("\n", " ")
    for call in (model.eval, model.train):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.parametrize(
    ("changes", "shape", "output"),
    [
        (
            {
                "dataset": {"name": "polynomial_noise"},
                "model": {"name": "mlp", "hidden": [4]},
                "norm": {"kind": "none"},
                "task": {"kind": "regression"},
                "augmentation": [],
            },
            (1, 1, 1),
            (1,),
        ),
        (
            {
                "dataset": {"name": "digits", "image_size": 16},
                "model": {"name": "autoencoder"},
                "norm": {"kind": "batch"},
                "task": {"kind": "reconstruction"},
                "augmentation": [],
            },
            (1, 16, 16),
            (1, 16, 16),
        ),
    ],
    ids=["regression", "reconstruction"],
)
def test_a_logged_model_carries_its_task_and_an_example_of_its_real_inputs(
    changes: dict[str, Any],
    shape: tuple[int, ...],
    output: tuple[int, ...],
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
) -> None:
    import mlflow.pyfunc

    job = project_rows.add_finished_job(study=project_rows.add_study(models="none"), epochs=2)
    spec = JobSpec.model_validate({**SPEC, **changes})
    path = settings.storage.root / "best.pt"
    save_weights(build_model(spec, BUILT_IN[spec.dataset.name]), path)
    assert drain(settings, tracking) == 0
    run = reader.run_of(project_rows.project, job=job)
    request = request_of(job, spec, path, run.info)
    outcome = answer(tracking, request, settings.storage.root / "datasets")
    assert outcome["kind"] == "logged", outcome
    (logged,) = models_of(reader, project_rows.project)
    assert logged.model_type == spec.task.kind
    assert f"(N, {', '.join(map(str, shape))})" in logged.tags["mlflow.note.content"]
    model = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    example = model.input_example
    assert example.shape == (2, *shape)
    # Real examples, standardized, no zeros.
    assert len({value for value in example.ravel().tolist()}) > 1
    assert model.predict(example).shape == (2, *output)


@pytest.mark.usefixtures("export_helper")
def test_a_model_that_the_mirror_had_not_noted_when_it_died_is_not_doubled(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_finished_job(epochs=2)
    add_weights(project_rows, settings.storage.root, job)
    assert drain(settings, tracking) == 0
    (logged,) = models_of(reader, project_rows.project)
    run_id = reader.run_of(project_rows.project, job=job).info.run_id
    # Another that was only begun, as a helper that was killed leaves it.
    reader.client.create_logged_model(logged.experiment_id, source_run_id=run_id)
    with project_rows.sessions.begin() as session:
        row = session.scalars(select(Mirrored).where(Mirrored.job_id == job)).one()
        row.state = {**row.state, "model": "wanted", "model_id": None}
    assert drain(settings, tracking) == 0
    assert [one.model_id for one in models_of(reader, project_rows.project)] == [logged.model_id]
    with project_rows.sessions.begin() as session:
        row = session.scalars(select(Mirrored).where(Mirrored.job_id == job)).one()
        assert (row.state["model"], row.state["model_id"]) == ("logged", logged.model_id)


def test_a_model_that_cannot_be_exported_is_uploaded_as_a_state_dict(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("data-dependent control flow")

    monkeypatch.setattr("torch.export.export", refuse)
    job = project_rows.add_finished_job(study=project_rows.add_study(models="none"), epochs=2)
    path = add_weights(project_rows, settings.storage.root, job)
    assert drain(settings, tracking) == 0
    run = reader.run_of(project_rows.project, job=job)
    request = request_of_job(project_rows, reader, job, path)
    outcome = answer(tracking, request, settings.storage.root / "datasets")
    assert outcome["kind"] == "state_dict"
    assert outcome["detail"].startswith("RuntimeError: data-dependent")
    assert models_of(reader, project_rows.project) == []
    found = reader.client.download_artifacts(run.info.run_id, "state_dict.pt")
    loaded, saved = (torch.load(one, weights_only=True) for one in (found, path))
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)


@pytest.mark.parametrize(
    ("program", "seconds", "detail"),
    [
        ("import time; time.sleep(60)", 0.2, "the export took longer than 0.2 seconds"),
        (
            'import sys; sys.stdin.readline(); print(\'{"out_of_memory": "9 GB"}\')',
            60,
            "the export had not enough memory: 9 GB",
        ),
    ],
    ids=["hang", "out of memory"],
)
def test_what_broke_a_helper_is_said(
    program: str, seconds: float, detail: str, tmp_path: Path
) -> None:
    helper = [sys.executable, "-c", program]
    logger = ModelLogger("", FolderStorage(tmp_path), helper=helper, seconds=seconds)
    assert logger._ask({}) == detail


def test_a_model_that_breaks_its_helper_again_and_again_has_failed_and_the_mirror_goes_on(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_helper(monkeypatch, "import os, sys; sys.stdin.readline(); os.abort()", 60)
    detail = "process was killed by SIGABRT"
    jobs = [project_rows.add_finished_job(epochs=2) for _ in range(2)]
    for job in jobs:
        add_weights(project_rows, settings.storage.root, job)
    for number in (1, 2):
        # What waits to be tried again, a new mirror tries at once.
        assert drain(settings, tracking) == 1
        for job in jobs:
            [problem] = problems(project_rows)[f"job {job}"]
            assert (problem.kind, problem.attempts) == ("model", number)
            assert problem.reason.endswith(f"{detail} (try {number} of 3)")
            assert problem.next_at is not None
    assert drain(settings, tracking) == 0
    for job in jobs:
        tag = reader.run_of(project_rows.project, job=job).data.tags["normlab.model"]
        assert tag.startswith("failed: ")
        [problem] = problems(project_rows)[f"job {job}"]
        assert (problem.kind, problem.next_at) == ("model", None)
        assert problem.reason.endswith(f"{detail}; it was tried 3 times")


def replace_helper(monkeypatch: pytest.MonkeyPatch, program: str, seconds: float) -> None:
    def make_logger(url: str, storage: Path) -> ModelLogger:
        return ModelLogger(url, storage, helper=[sys.executable, "-c", program], seconds=seconds)

    monkeypatch.setattr("worker.mirror.__main__.ModelLogger", make_logger)


def test_a_model_whose_export_is_killed_once_is_logged_after_all(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    kept_helper: KeptHelper,
) -> None:
    job = project_rows.add_finished_job(epochs=2)
    add_weights(project_rows, settings.storage.root, job)
    with monkeypatch.context() as patch:
        # As `kill -9` or the kernel does it while memory is short.
        kill = "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)"
        replace_helper(patch, kill, 60)
        assert drain(settings, tracking) == 1
    [problem] = problems(project_rows)[f"job {job}"]
    assert problem.reason == (
        "ExportBroken: the export's process was killed by SIGKILL, "
        "usually because the machine had too little memory (try 1 of 3)"
    )
    monkeypatch.setattr("worker.mirror.models.HelperProcess.start", lambda _: kept_helper)
    assert drain(settings, tracking) == 0
    assert reader.run_of(project_rows.project, job=job).data.tags["normlab.model"] == "logged"
    assert [model.status for model in models_of(reader, project_rows.project)] == ["READY"]
    assert problems(project_rows) == {}
    with project_rows.sessions.begin() as session:
        row = session.scalars(select(Mirrored).where(Mirrored.job_id == job)).one()
        assert exports.KEY not in row.state


def test_a_mirror_that_ends_with_each_export_of_a_model_does_not_try_for_ever(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = project_rows.add_finished_job(epochs=2)
    add_weights(project_rows, settings.storage.root, job)
    with monkeypatch.context() as patch:
        # Nothing is taken back: as if the kernel had killed the mirror as well.
        patch.setattr("store.mlflow.exports.take_back", lambda *_: None)
        patch.setattr(ModelLogger, "_ask", die)
        for _ in range(3):
            with pytest.raises(SystemExit):
                drain(settings, tracking)
    assert drain(settings, tracking) == 0
    [problem] = problems(project_rows)[f"job {job}"]
    assert problem.reason.endswith("the mirror ended while it was exported; it was tried 3 times")


def test_an_export_that_others_ended_does_not_count(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_away(*_: Any) -> None:
        raise ExportError("MLflow does not answer")

    job = project_rows.add_finished_job(epochs=2)
    add_weights(project_rows, settings.storage.root, job)
    # Together as often as it would be tried, and once more.
    for end in (is_away, die, is_away, die):
        monkeypatch.setattr(ModelLogger, "_ask", end)
        with suppress(SystemExit):
            assert drain(settings, tracking) == 1
        with project_rows.sessions.begin() as session:
            row = session.scalars(select(Mirrored).where(Mirrored.job_id == job)).one()
            assert (row.state["model"], row.state[exports.KEY]) == ("wanted", 0)


def test_an_exported_model_is_noted_however_often_mlflow_fails_right_after_the_export(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = project_rows.add_finished_job(epochs=2)
    add_weights(project_rows, settings.storage.root, job)
    logged = {"kind": "logged", "model_id": "m-1"}
    monkeypatch.setattr(ModelLogger, "_ask", lambda *_: logged)
    with monkeypatch.context() as patch:
        patch.setattr(Exports, "_send_model", fail_after_the_export)
        for _ in range(4):
            assert drain(settings, tracking) == 1
    assert drain(settings, tracking) == 0
    with project_rows.sessions.begin() as session:
        row = session.scalars(select(Mirrored).where(Mirrored.job_id == job)).one()
        assert (row.state["model"], row.state["model_id"]) == ("logged", "m-1")
    assert problems(project_rows) == {}


def fail_after_the_export(self: Exports, export: ModelExport) -> None:
    export.export()
    raise ConnectionError("MLflow went away")


def die(*_: Any) -> None:
    raise SystemExit


def test_an_export_without_memory_is_tried_again_before_a_state_dict_has_to_do(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise MemoryError("no room for it")

    monkeypatch.setattr("torch.export.export", refuse)
    job = project_rows.add_finished_job(study=project_rows.add_study(models="none"), epochs=2)
    path = add_weights(project_rows, settings.storage.root, job)
    drain(settings, tracking)
    request = request_of_job(project_rows, reader, job, path)
    folder = settings.storage.root / "datasets"
    assert answer(tracking, request, folder) == {"out_of_memory": "MemoryError: no room for it"}
    last = answer(tracking, {**request, "may_retry": False}, folder)
    assert last["kind"] == "state_dict"


def test_a_checkpoint_that_is_gone_is_said_to_be_missing(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_finished_job(epochs=2)
    add_weights(project_rows, settings.storage.root, job).write_bytes(b"cut short")
    assert drain(settings, tracking) == 0
    tags = reader.run_of(project_rows.project, job=job).data.tags
    assert tags["normlab.model"].startswith("missing")


def test_the_policy_of_the_study_says_which_models_are_logged(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking
) -> None:
    accuracies = [("batch", 0.7), ("batch", 0.9), ("group", 0.8), ("group", 0.6)]
    wanted = {"none": [], "best": [1, 2], "all": [0, 1, 2, 3]}
    jobs = {}
    for policy in wanted:
        study = project_rows.add_study(policy, models=policy)
        jobs[policy] = [
            project_rows.add_finished_job(study=study, variant=variant, seed=seed, accuracy=value)
            for seed, (variant, value) in enumerate(accuracies)
        ]
    # The checkpoints are missing: what was tried is what was wanted.
    assert drain(settings, tracking) == 0
    assert tried(project_rows) == [
        jobs[policy][number] for policy, numbers in wanted.items() for number in numbers
    ]


def test_a_best_model_waits_until_all_seeds_of_its_variant_are_over(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking
) -> None:
    study = project_rows.add_study(models="best")
    first = project_rows.add_finished_job(study=study, variant="batch", seed=0)
    last = project_rows.add_job(study=study, variant="batch", seed=1)
    drain(settings, tracking)
    assert tried(project_rows) == []
    project_rows.finish(last, 2, accuracy=0.5)
    drain(settings, tracking)
    assert tried(project_rows) == [first]


def job_with(seed: int, status: str = "succeeded", **metrics: float | None) -> Job:
    spec = {"early_stopping": {"monitor": "val_loss"}}
    return Job(id=seed, seed=seed, status=status, spec=spec, metrics=metrics)


@pytest.mark.parametrize(
    ("jobs", "best"),
    [
        ([job_with(0, best_val_loss=0.3), job_with(1, best_val_loss=0.2)], 1),
        ([job_with(0, best_val_loss=0.2), job_with(1, best_val_loss=0.2)], 0),
        ([job_with(0, best_val_loss=0.3), job_with(1, test_accuracy=1.0)], 0),
        ([job_with(0, best_val_loss=0.3), job_with(1, "failed", best_val_loss=0.1)], 0),
        ([job_with(0, best_val_loss=None)], None),
    ],
    ids=["lowest loss", "first of equals", "never by test", "only succeeded", "all diverged"],
)
def test_the_best_job_is_the_best_on_validation(jobs: Sequence[Job], best: int | None) -> None:
    found = best_job(jobs)
    assert (None if found is None else found.seed) == best


def tried(project_rows: ProjectRows) -> list[int]:
    with project_rows.sessions.begin() as session:
        rows = session.scalars(select(Mirrored).where(Mirrored.job_id.is_not(None)))
        return sorted(row.job_id for row in rows if row.state.get("model") and row.job_id)


def spec_of(project_rows: ProjectRows, job_id: int) -> dict[str, Any]:
    with project_rows.sessions.begin() as session:
        return session.get_one(Job, job_id).spec
