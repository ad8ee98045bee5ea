"""SQL's jobs and studies appear in a real MLflow, each epoch's point exactly once."""

import base64
import json
import math
import os
import signal
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ViewType
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker
from torch import nn

from runtime.helper_process import start_preloaded
from store.db.models import Epoch, MirrorProblem
from store.jobs import commands
from studies.rendering import Renderer
from tests.support.mirrored import BEGIN, ProjectRows, Reader, mirror_environment, problems
from tests.support.waiting import PATIENCE_SECONDS
from trainer.evaluation.weight_arrays import first_filters, serialize, weight_histograms
from trainer.events import Diagnosed, EvaluationFinished
from trainer.files import write_file
from worker.mirror.__main__ import Settings, drain, make_mirroring, rebuild
from worker.mirror.connection import locked_connection
from worker.mirror.exports import Exports, FilesExport
from worker.mirror.tracking import Tracking

pytestmark = pytest.mark.usefixtures("mlflow_server")

#: MLflow refuses every point of such a time.
BEFORE_MLFLOW = datetime(1969, 1, 1, tzinfo=UTC)


@pytest.mark.usefixtures("real_figures")
def test_a_finished_job_is_a_finished_run(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_finished_job(epochs=3)
    assert drain(settings, tracking) == 0
    run = reader.run_of(project_rows.project, job=job)
    assert run.info.run_name == "group | seed 0"
    assert run.info.status == "FINISHED"
    assert run.info.start_time == round(BEGIN.timestamp() * 1000)
    assert run.info.end_time == round((BEGIN + timedelta(minutes=5)).timestamp() * 1000)
    assert run.data.metrics["test/accuracy"] == 0.9
    assert run.data.metrics["best/val_accuracy"] == 0.9
    assert run.data.metrics["best/epoch"] == 3
    assert reader.points(run, "val/accuracy") == [(1, 0.25), (2, 0.625), (3, 0.75)]
    assert reader.points(run, "lr") == [(1, 0.05), (2, 0.05), (3, 0.05)]
    assert run.data.params["norm.kind"] == "group"
    assert run.data.params["regularization.dropout.p"] == "0.2"
    assert run.data.params["early_stopping.patience"] == "5"
    assert run.data.tags["normlab.variant"] == "group"
    assert run.data.tags["normlab.reason"] == "completed"
    assert run.data.tags["mlflow.user"].startswith("ada")
    assert r"test\_accuracy" in run.data.tags["mlflow.note.content"]
    assert reader.files(run)["learning_curves.png"] > 1000


def test_diagnostics_are_points_of_their_layers_and_a_figure(
    project_rows: ProjectRows,
    sessions: sessionmaker[Session],
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
) -> None:
    jobs = {kind: project_rows.add_job(diagnostics={"kind": kind}) for kind in ("epoch", "steps")}
    for job in jobs.values():
        project_rows.start(job)
        project_rows.train(job, (1, 2))
    for epoch, median in ((1, 0.5), (2, 2.0)):
        look = {"before_p50": median, "before_std": 1.0, "after_p50": median, "after_std": 2.0}
        layers = {"norm1": look, "network": {"loss_gap": math.nan}}
        with sessions.begin() as session:
            for job in jobs.values():
                commands.record_diagnosis(session, job, 1, Diagnosed(epoch, 10 * epoch, layers))
        assert drain(settings, tracking) == 0
    for job in jobs.values():
        project_rows.finish(job, 2)
    assert drain(settings, tracking) == 0
    for kind, (first, second) in {"epoch": (1, 2), "steps": (10, 20)}.items():
        run = reader.run_of(project_rows.project, job=jobs[kind])
        points = reader.points(run, "diagnostics/norm1/before_p50")
        assert points == [(first, 0.5), (second, 2.0)]
        drift = reader.points(run, "diagnostics/norm1/before_drift_training")
        assert drift == [(first, 0.0), (second, 1.5)]
        assert math.isnan(run.data.metrics["diagnostics/network/loss_gap"])
        assert reader.files(run)["diagnostics.png"] > 1000


def test_the_three_splits_are_inputs_with_digests_of_their_own(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_job()
    project_rows.start(job)
    drain(settings, tracking)
    inputs = reader.run_of(project_rows.project, job=job).inputs.dataset_inputs
    assert {one.dataset.name for one in inputs} == {"digits"}
    assert len({one.dataset.digest for one in inputs}) == 3
    contexts = {tag.value for one in inputs for tag in one.tags}
    assert contexts == {"training", "validation", "testing"}


def test_the_run_follows_the_job_through_its_life(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_job()
    seen = []
    for step in (
        lambda: None,
        lambda: project_rows.start(job),
        lambda: project_rows.train(job, [1]),
        lambda: project_rows.change(job, status="paused"),
        lambda: project_rows.start(job),
        lambda: project_rows.train(job, [2]),
        lambda: project_rows.change(
            job, status="failed", reason="error", error="no", finished_at=BEGIN
        ),
        lambda: project_rows.change(job, status="queued", reason=None, finished_at=None),
        lambda: project_rows.change(job, status="cancelled", reason="cancelled", finished_at=BEGIN),
    ):
        step()
        drain(settings, tracking)
        # A job that has never started has none.
        for run in reader.runs(project_rows.project) or [None]:
            points = run and len(reader.points(run, "train/loss"))
            seen.append(run and (run.info.status, points))
    assert seen == [
        None,
        ("RUNNING", 0),
        ("RUNNING", 1),
        ("SCHEDULED", 1),
        ("RUNNING", 1),
        ("RUNNING", 2),
        ("FAILED", 2),
        ("SCHEDULED", 2),
        ("KILLED", 2),
    ]


def test_a_diverged_job_has_nan_where_sql_has_none(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_job()
    project_rows.start(job)
    project_rows.train(job, [1])
    names = {"train_loss": "inf", "val_loss": "nan"}
    project_rows.train(job, [2], train_loss=None, val_loss=None, non_finite=names)
    project_rows.finish(
        job, 1, reason="diverged",
        metrics={"best_epoch": 1, "test_accuracy": 0.1, "test_loss": None},
        non_finite={"test_loss": "nan"},
    )  # fmt: skip
    assert drain(settings, tracking) == 0
    run = reader.run_of(project_rows.project, job=job)
    assert run.info.status == "FINISHED"
    assert run.data.tags["normlab.reason"] == "diverged"
    assert math.isnan(run.data.metrics["test/loss"])
    assert run.data.metrics["test/accuracy"] == 0.1
    for metric in ("train/loss", "val/loss"):
        points = reader.points(run, metric)
        assert [step for step, _ in points] == [1, 2]
        assert math.isnan(points[1][1])


def test_a_study_is_the_parent_of_its_jobs_and_shows_the_comparison(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    study = project_rows.add_study()
    jobs = [
        project_rows.add_finished_job(
            study=study, variant=variant, seed=seed, accuracy=0.8 + seed / 10
        )
        for variant in ("batch", "group")
        for seed in (0, 1)
    ]
    assert drain(settings, tracking) == 0
    parent = reader.run_of(project_rows.project, study=study)
    assert parent.info.run_name == "norms"
    assert parent.info.status == "FINISHED"
    assert parent.data.params["baseline"] == "batch"
    assert "| group | 2 | 85.00 ± 7.07 |" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == pytest.approx(
        {
            "jobs/ended": 4,
            "jobs/failed": 0,
            "test_accuracy/batch": 0.85,
            "test_accuracy/group": 0.85,
        }
    )
    for job in jobs:
        child = reader.run_of(project_rows.project, job=job)
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_what_is_drawn_keeps_no_number_waiting(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All runs are closed before the first figure is drawn: of studies first, the latest first."""
    studies = [project_rows.add_study(name) for name in ("first", "second")]
    jobs = [project_rows.add_finished_job(study=study) for study in studies]
    drawn: list[tuple[int | None, int | None]] = []
    open_runs: list[int] = []
    send = Exports._send_files

    def watched(self: Exports, export: FilesExport) -> None:
        drawn.append((export.row.study_id, export.row.job_id))
        runs = reader.runs(project_rows.project)
        open_runs.append(sum(one.info.status != "FINISHED" for one in runs) + 4 - len(runs))
        send(self, export)

    monkeypatch.setattr(Exports, "_send_files", watched)
    assert drain(settings, tracking) == 0
    assert drawn == [
        *((study, None) for study in reversed(studies)), *((None, job) for job in reversed(jobs))
    ]  # fmt: skip
    assert open_runs == [0, 0, 0, 0]


def test_the_report_of_a_study_is_a_file_of_its_run(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By the process that draws in production.
    monkeypatch.setattr("worker.mirror.__main__.Renderer", Renderer)
    study = project_rows.add_study(description="hostile <b>")
    jobs = [
        project_rows.add_finished_job(study=study, variant=one, seed=seed)
        for one in ("batch", "group")
        for seed in (0, 1)
    ]
    public = settings.model_copy(update={"public_mlflow_url": "https://mlflow.example"})
    assert drain(public, tracking) == 0
    parent = reader.run_of(project_rows.project, study=study)

    def read(name: str) -> str:
        return Path(
            reader.client.download_artifacts(parent.info.run_id, name, str(tmp_path))
        ).read_text()

    assert set(reader.files(parent)) == {
        "learning_curves.png", "differences.png", "generalization_gap.png", "report.html", "report.md",
        "comparison.json",
    }  # fmt: skip
    page, markdown = read("report.html"), read("report.md")
    assert "<b>" not in page
    assert page.count('src="data:image/png;base64,') == 3
    assert "![Learning curves](<learning_curves.png>)" in markdown
    for job in jobs:
        run = reader.run_of(project_rows.project, job=job).info.run_id
        assert (
            f"https://mlflow.example/#/experiments/{parent.info.experiment_id}/runs/{run}" in page
        )


def test_kept_weights_and_diagnostics_of_a_study_are_in_its_figures(
    project_rows: ProjectRows,
    sessions: sessionmaker[Session],
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
) -> None:
    study = project_rows.add_study()
    job = project_rows.add_job(study=study, diagnostics={"kind": "epoch"})
    project_rows.start(job)
    project_rows.train(job, (1, 2))
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2))
    arrays = {"filters": first_filters(model, (1, 8, 8)), "weights": weight_histograms(model)}
    files = []
    for name, one in arrays.items():
        written = write_file(settings.storage.root / f"test_{name}.npz", serialize(one))
        files.append(replace(written, path=f"test_{name}.npz"))
    percentiles = {
        f"{side}_p{p}": p / 10 for side in ("before", "after") for p in (1, 15, 50, 85, 99)
    }
    with sessions.begin() as session:
        commands.record_evaluation(session, job, 1, EvaluationFinished("test", {}, tuple(files)))
        for epoch in (1, 2):
            look = Diagnosed(epoch, 10 * epoch, {"norm1": percentiles})
            commands.record_diagnosis(session, job, 1, look)
    project_rows.finish(job, 2)
    assert drain(settings, tracking) == 0
    kept = reader.files(reader.run_of(project_rows.project, study=study))
    assert {"activations.png", "filters.png", "weights.png"} <= kept.keys()


def test_a_study_that_is_extended_runs_again(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    study = project_rows.add_study()
    project_rows.add_finished_job(study=study, seed=0)
    drain(settings, tracking)
    assert reader.run_of(project_rows.project, study=study).info.status == "FINISHED"
    job = project_rows.add_job(study=study, seed=1)
    project_rows.start(job)
    drain(settings, tracking)
    parent = reader.run_of(project_rows.project, study=study)
    assert parent.info.status == "RUNNING"
    assert "1 of 2 jobs" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["normlab.seeds"] == "2"


def test_the_experiment_opens_as_model_training_ranked_by_validation_with_columns_that_its_runs_have(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_finished_job()
    drain(settings, tracking)
    tags = reader.client.get_experiment_by_name(project_rows.project).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.experiment.primaryMetric.name"] == "best/val_accuracy"
    view = json.loads(tags["mlflow.sharedViewState.normlab"])
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    run = reader.run_of(project_rows.project, job=job).data
    shown = {f"metrics.`{name}`" for name in run.metrics} | {f"tags.`{name}`" for name in run.tags}
    # A job on its own has no variant.
    assert set(state["selectedColumns"]) - shown <= {"tags.`normlab.variant`"}
    assert state["orderByKey"] in shown


def test_what_has_not_changed_is_not_sent_again(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = project_rows.add_study()
    project_rows.add_finished_job(study=study)
    drain(settings, tracking)

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a request")

    # Looking for what people have deleted asks, but sends nothing.
    monkeypatch.setattr("worker.mirror.deletions.Deletions.search", lambda self: None)
    monkeypatch.setattr("mlflow.utils.rest_utils.http_request", refuse)
    monkeypatch.setattr("mlflow.tracking.client.MlflowClient.log_batch", refuse)
    assert drain(settings, tracking) == 0


class Killed(BaseException):
    """Nothing of ours catches it, as nothing catches SIGKILL."""


def test_a_mirror_that_ends_before_each_step_leaves_nothing_missing_and_nothing_doubled(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*arguments: Any, **named: Any) -> None:
        raise Killed

    job = project_rows.add_finished_job(study=project_rows.add_study(), epochs=4)
    # In their order, so that each mirror comes a step further than the one before.
    for step in (
        "worker.mirror.tracking.Tracking.create_run",
        "worker.mirror.tracking.Tracking.send",
        "worker.mirror.tracking.Tracking.send_inputs",
        "worker.mirror.tracking.Tracking.set_status",
        "store.mlflow.mirror.save",
        "worker.mirror.tracking.Tracking.send_file",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(step, die)
            for _ in range(2):
                with pytest.raises(Killed):
                    drain(settings, tracking)
    assert drain(settings, tracking) == 0
    assert_mirrored_once(project_rows, reader, job, epochs=4)


def test_a_mirror_killed_between_a_batch_and_its_watermark_doubles_no_point(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    tmp_path: Path,
) -> None:
    job = project_rows.add_finished_job(study=project_rows.add_study(), epochs=4)
    log = tmp_path / "log"
    with log.open("wb") as stderr, open(os.devnull, "rb") as nothing:
        killed = start_preloaded(
            [sys.executable, "-m", "tests.support.killed_mirror", "--once"],
            mirror_environment(settings),
            stdin=nothing.fileno(),
            stderr=stderr.fileno(),
        )
        assert killed.wait(PATIENCE_SECONDS) == -signal.SIGKILL, log.read_text()
    assert len(reader.points(reader.run_of(project_rows.project, job=job), "val/loss")) == 4
    assert drain(settings, tracking) == 0
    assert_mirrored_once(project_rows, reader, job, epochs=4)


def test_a_rebuild_sends_all_anew_and_bins_the_old_runs(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    study = project_rows.add_study()
    job = project_rows.add_finished_job(study=study, epochs=3)
    drain(settings, tracking)
    before = {run.info.run_id for run in reader.runs(project_rows.project)}
    rebuild(settings, tracking)
    assert reader.runs(project_rows.project) == []
    assert drain(settings, tracking) == 0
    after = {run.info.run_id for run in reader.runs(project_rows.project)}
    assert len(after) == 2
    assert not before & after
    assert {
        run.info.run_id for run in reader.runs(project_rows.project, ViewType.DELETED_ONLY)
    } == before
    assert len(reader.points(reader.run_of(project_rows.project, job=job), "val/loss")) == 3


def test_one_job_that_cannot_be_mirrored_does_not_keep_others_waiting(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    bad = project_rows.add_job()
    project_rows.start(bad)
    project_rows.train(bad, [1], recorded_at=BEFORE_MLFLOW)
    good = project_rows.add_finished_job()
    assert drain(settings, tracking) == 1
    assert reader.run_of(project_rows.project, job=good).info.status == "FINISHED"
    [problem] = problems(project_rows)[f"job {bad}"]
    assert problem.kind == "run"
    assert "Timestamp must be a nonnegative" in problem.reason

    assert drain(settings, tracking) == 1
    [again] = problems(project_rows)[f"job {bad}"]
    assert again.attempts > problem.attempts
    assert again.since == problem.since

    with project_rows.sessions.begin() as session:
        session.execute(update(Epoch).values(recorded_at=BEGIN))
    assert drain(settings, tracking) == 0
    assert reader.run_of(project_rows.project, job=bad).info.status == "RUNNING"
    assert problems(project_rows) == {}


def test_what_cannot_be_mirrored_is_not_tried_again_before_its_pause_is_over(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking
) -> None:
    bad = project_rows.add_job()
    project_rows.start(bad)
    project_rows.train(bad, [1], recorded_at=BEFORE_MLFLOW)
    drain(settings, tracking)
    project_rows.train(bad, [2])
    with project_rows.sessions.begin() as session:
        # However slow this machine is.
        pause = MirrorProblem.next_at + timedelta(hours=1)
        attempts = session.scalar(
            update(MirrorProblem).values(next_at=pause).returning(MirrorProblem.attempts)
        )
    with (
        locked_connection(settings.database_url) as connection,
        closing(make_mirroring(settings, tracking, connection)) as mirroring,
    ):
        assert mirroring.run_pass(everything=True).is_idle
    assert problems(project_rows)[f"job {bad}"][0].attempts == attempts


def test_a_spec_of_more_params_than_one_batch_holds_is_sent_whole(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_job()
    project_rows.start(job)
    project_rows.change(
        job, spec={"dataset": {"name": "digits"}, **{f"key{n}": n for n in range(230)}}
    )
    project_rows.train(job, range(1, 201))
    assert drain(settings, tracking) == 0
    run = reader.run_of(project_rows.project, job=job)
    assert len(run.data.params) == 231
    assert len(reader.points(run, "val/loss")) == 200


def test_what_mlflow_has_no_room_for_is_shortened_and_sent(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    """Names, keys and values beyond its limits, and a request beyond a million characters."""
    long = "regularization=" + "é" * 400
    first, second = (project_rows.add_job(variant=long, seed=seed) for seed in (0, 1))
    for job in (first, second):
        project_rows.start(job)
    spec = {"dataset": {"name": "digits"}, "x" * 300: "é" * 7000, "y(z)": 1, "a//../b": 2}
    project_rows.change(first, spec={**spec, **{f"key{n}": "é" * 5000 for n in range(60)}})
    assert drain(settings, tracking) == 0
    runs = [reader.run_of(project_rows.project, job=job) for job in (first, second)]
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == 2
    assert all(name.startswith("regularization=éé") and len(name) <= 250 for name in names)
    assert names[0].endswith(" | seed 0")
    assert runs[0].data.tags["normlab.name"] == f"{long} | seed 0"
    params = runs[0].data.params
    assert len(params) == 64
    [cut] = [value for key, value in params.items() if key.startswith("xxx")]
    assert cut == "é" * 5998 + " …"
    assert any(key.startswith("y_z_.") for key in params)


def test_metrics_have_sqls_names(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_job()
    project_rows.start(job)
    project_rows.train(job, [1], extra={"l2_term": 0.5})
    metrics = {"stop_epoch_generalization_loss": 3.0, "shifted_test_accuracy": 0.5, "steps": 10}
    project_rows.finish(job, 1, metrics=metrics)
    assert drain(settings, tracking) == 0
    values = reader.run_of(project_rows.project, job=job).data.metrics
    assert values.keys() >= {*metrics, "l2_term", "seconds", "epoch_seconds"}


def assert_mirrored_once(project_rows: ProjectRows, reader: Reader, job: int, epochs: int) -> None:
    """One parent, one run, and of each of its points exactly one."""
    assert len(reader.runs(project_rows.project, ViewType.ALL)) == 2
    run = reader.run_of(project_rows.project, job=job)
    assert run.info.status == "FINISHED"
    for metric in ("train/loss", "train/cost", "val/loss", "val/accuracy", "lr"):
        steps = [step for step, _ in reader.points(run, metric)]
        assert steps == list(range(1, epochs + 1))
    assert len(reader.points(run, "test/accuracy")) == 1
    assert len(run.inputs.dataset_inputs) == 3
    assert "learning_curves.png" in reader.files(run)
