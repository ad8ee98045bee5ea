"""What is forged or deleted in MLflow is found, named, and put right by runs that say what SQL says."""

from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.mirrored import ProjectRows, Reader
from worker.mirror.__main__ import Settings, drain, verify
from worker.mirror.tracking import Tracking

pytestmark = pytest.mark.usefixtures("mlflow_server")

#: How somebody who has the mirror's token, or MLflow's database, would lie; and what is said of it.
FORGERIES: dict[str, tuple[Callable[[MlflowClient, Run], Any], str]] = {
    # Its step is the first, so that MLflow goes on showing the true value as the last.
    "a point": (
        lambda client, run: client.log_metric(run.info.run_id, "test/accuracy", 0.9999),
        "metric test/accuracy has 0.9999 at step 0",
    ),
    "a better result": (
        lambda client, run: client.log_metric(run.info.run_id, "test/accuracy", 0.9999, step=99),
        "metric test/accuracy has 0.9999 at step 99",
    ),
    "a point of a curve": (
        lambda client, run: client.log_metric(run.info.run_id, "val/loss", 0.001, step=2),
        "metric val/loss has 0.001 at step 2",
    ),
    "a metric": (
        lambda client, run: client.log_metric(run.info.run_id, "beauty", 1.0),
        "metric beauty is not in SQL",
    ),
    "a parameter": (
        lambda client, run: client.log_param(run.info.run_id, "secret", "sauce"),
        "parameter secret is 'sauce', not None",
    ),
    "a tag": (
        lambda client, run: client.set_tag(run.info.run_id, "normlab.variant", "batch"),
        "tag normlab.variant is 'batch', not 'group'",
    ),
    "a status": (
        lambda client, run: client.set_terminated(run.info.run_id, "FAILED", run.info.end_time),
        "its status is FAILED, not FINISHED",
    ),
    "a deletion": (lambda client, run: client.delete_run(run.info.run_id), "it was deleted"),
}


def run_verify(
    settings: Settings,
    tracking: Tracking,
    capsys: pytest.CaptureFixture[str],
    *,
    repair: bool = False,
) -> tuple[int, str]:
    capsys.readouterr()
    status = verify(settings, tracking, repair=repair)
    return status, capsys.readouterr().out


def test_what_the_mirror_has_sent_is_what_sql_says(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = project_rows.add_study()
    for seed in (0, 1):
        project_rows.add_finished_job(study=study, seed=seed)
    diverged = project_rows.add_job(seed=2)
    project_rows.start(diverged)
    project_rows.train(diverged, [1], val_loss=None, non_finite={"val_loss": "nan"})
    values = {"metrics": {"epochs": 1}, "non_finite": {"test_loss": "inf"}}
    project_rows.finish(diverged, 1, reason="diverged", **values)
    # Of one that goes on, nothing is compared.
    running = project_rows.add_job(seed=3)
    project_rows.start(running)
    assert drain(settings, tracking) == 0
    expected = "compared 4 ended runs with the database: MLflow has the same\n"
    assert run_verify(settings, tracking, capsys) == (0, expected)


def test_every_forgery_is_named_and_put_right(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Pictures are drawn for seconds, and aren't compared.
    monkeypatch.setattr("store.mlflow.exports.next_files", lambda *_: [])
    jobs = {
        project_rows.add_finished_job(epochs=3, accuracy=0.75, seed=seed): forgery
        for seed, forgery in enumerate(FORGERIES)
    }
    honest = project_rows.add_finished_job(seed=len(jobs))
    drain(settings, tracking)
    before = {job: reader.run_of(project_rows.project, job=job) for job in (*jobs, honest)}
    for job, forgery in jobs.items():
        FORGERIES[forgery][0](reader.client, before[job])
    status, said = run_verify(settings, tracking, capsys)
    assert status == 1
    assert said.splitlines() == [
        *(
            f"j{job} (run {before[job].info.run_id}): {FORGERIES[one][1]}"
            for job, one in jobs.items()
        ),
        f"compared {len(before)} ended runs with the database: {len(jobs)} differ",
    ]

    assert run_verify(settings, tracking, capsys, repair=True)[0] == 0
    assert drain(settings, tracking) == 0
    for job in jobs:
        after = reader.run_of(project_rows.project, job=job)
        assert after.info.run_id != before[job].info.run_id
        assert after.data.metrics["test/accuracy"] == 0.75
        assert len(reader.points(after, "val/loss")) == 3
    assert reader.run_of(project_rows.project, job=honest).info == before[honest].info
    assert run_verify(settings, tracking, capsys)[0] == 0


def test_a_studys_jobs_follow_it_to_its_new_run(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = project_rows.add_study()
    job = project_rows.add_finished_job(study=study)
    drain(settings, tracking)
    reader.client.log_metric(
        reader.run_of(project_rows.project, study=study).info.run_id, "beauty", 1.0
    )
    status, said = run_verify(settings, tracking, capsys, repair=True)
    assert (status, said.partition(" ")[0]) == (0, f"s{study}")
    drain(settings, tracking)
    parent = reader.run_of(project_rows.project, study=study)
    child = reader.run_of(project_rows.project, job=job)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run_verify(settings, tracking, capsys)[0] == 0


def test_a_run_that_poses_as_a_jobs_is_found_and_deleted(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = project_rows.add_finished_job()
    drain(settings, tracking)
    run = reader.run_of(project_rows.project, job=job)
    tags = {key: run.data.tags[key] for key in ("normlab.key", "normlab.job")}
    forged = reader.client.create_run(run.info.experiment_id, tags=tags).info.run_id
    # Somebody's own, which says nothing about a job.
    own = reader.client.create_run(run.info.experiment_id, run_name="mine").info.run_id
    status, said = run_verify(settings, tracking, capsys, repair=True)
    assert (status, said.splitlines()[0]) == (
        0,
        f"– (run {forged}): no job and no study has this run",
    )
    assert {one.info.run_id for one in reader.runs(project_rows.project)} == {run.info.run_id, own}


def test_a_retried_jobs_earlier_end_is_no_forgery(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = project_rows.add_job()
    project_rows.start(job)
    project_rows.end(job, "failed", seconds_used=1.5)
    drain(settings, tracking)
    project_rows.change(job, status="running", attempt=2, reason=None, finished_at=None)
    project_rows.train(job, [1, 2])
    project_rows.end(job, "succeeded")
    drain(settings, tracking)
    assert run_verify(settings, tracking, capsys)[0] == 0


def test_a_silent_mlflow_is_no_difference(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    project_rows: ProjectRows,
    tracking: Tracking,
) -> None:
    project_rows.add_finished_job()
    drain(settings, tracking)
    assert verify(settings, Tracking("http://127.0.0.1:1"), repair=False) == 2
    assert "cannot be read" in capsys.readouterr().err
