"""What people delete, restore and rename in MLflow: noticed, said, and respected."""

from collections.abc import Mapping

import pytest
from mlflow.entities import ViewType
from sqlalchemy import func, update
from structlog.testing import capture_logs

from store.db.models import Mirrored, Project
from tests.support.mirrored import ProjectRows, Reader, make_project_rows, problems
from worker.mirror.__main__ import Settings, drain
from worker.mirror.deletions import Deletions
from worker.mirror.experiments import Experiments
from worker.mirror.tracking import Tracking

pytestmark = pytest.mark.usefixtures("mlflow_server")


def test_a_deleted_run_is_noticed_not_written_to_and_catches_up_once_restored(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_job()
    project_rows.start(job)
    project_rows.train(job, [1])
    drain(settings, tracking)
    run = reader.run_of(project_rows.project, job=job)
    reader.client.delete_run(run.info.run_id)
    project_rows.train(job, [2])
    project_rows.finish(job, 2)
    assert drain(settings, tracking) == 0
    assert reader.runs(project_rows.project) == []
    assert len(reader.points(run, "val/loss")) == 1
    assert reader.files(run) == {}
    [problem] = problems(project_rows)[f"job {job}"]
    assert problem.kind == "deleted"
    assert "its run was deleted in MLflow" in problem.reason
    assert problem.next_at is None

    reader.client.restore_run(run.info.run_id)
    assert drain(settings, tracking) == 0
    restored = reader.run_of(project_rows.project, job=job)
    assert restored.info.run_id == run.info.run_id
    assert len(reader.points(restored, "val/loss")) == 2
    assert "learning_curves.png" in reader.files(restored)
    assert problems(project_rows) == {}


def test_a_deletion_is_noticed_where_nothing_is_written_any_more(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    study = project_rows.add_study()
    job = project_rows.add_finished_job(study=study)
    drain(settings, tracking)
    reader.client.delete_run(reader.run_of(project_rows.project, study=study).info.run_id)
    drain(settings, tracking)
    assert problems(project_rows).keys() == {f"study {study}"}
    assert reader.run_of(project_rows.project, job=job)


def test_a_run_deleted_while_the_mirror_writes_gets_no_file(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MLflow refuses metrics of a deleted run, but takes its files."""
    job = project_rows.add_finished_job()
    with monkeypatch.context() as patch:
        patch.setattr("store.mlflow.exports.next_files", lambda *_: [])
        drain(settings, tracking)
    run = reader.run_of(project_rows.project, job=job)
    reader.client.delete_run(run.info.run_id)
    monkeypatch.setattr("worker.mirror.deletions.Deletions.search", lambda self: None)
    assert drain(settings, tracking) == 0
    assert reader.files(run) == {}
    assert [one.kind for one in problems(project_rows)[f"job {job}"]] == ["deleted"]


@pytest.mark.parametrize("by", ["us", "people"])
def test_runs_deleted_one_by_one_stay_deleted_when_their_experiment_is_restored(
    by: str, project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    kept, deleted = (project_rows.add_finished_job(seed=seed) for seed in (0, 1))
    drain(settings, tracking)
    gone = reader.run_of(project_rows.project, job=deleted).info.run_id
    experiment = reader.client.get_experiment_by_name(project_rows.project).experiment_id
    reader.client.delete_run(gone)
    drain(settings, tracking)
    reader.client.delete_experiment(experiment)
    drain(settings, tracking)
    with project_rows.sessions.begin() as session:
        project = session.get_one(Project, project_rows.project_id)
        assert project.experiment_id == experiment
    assert problems(project_rows).keys() == {f"project {project_rows.project_id}", f"job {deleted}"}

    if by == "people":
        reader.client.restore_experiment(experiment)
    else:
        project_rows.add_finished_job(seed=2)
    assert drain(settings, tracking) == 0
    assert reader.run_of(project_rows.project, job=kept)
    assert gone not in {run.info.run_id for run in reader.runs(project_rows.project)}
    assert reader.client.get_run(gone).info.lifecycle_stage == "deleted"
    assert problems(project_rows).keys() == {f"job {deleted}"}


def test_a_mirror_that_ends_after_restoring_an_experiment_still_deletes_again(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Killed

    deleted = project_rows.add_finished_job()
    drain(settings, tracking)
    gone = reader.run_of(project_rows.project, job=deleted).info.run_id
    reader.client.delete_run(gone)
    drain(settings, tracking)
    experiment = reader.client.get_experiment_by_name(project_rows.project).experiment_id
    reader.client.delete_experiment(experiment)
    project_rows.add_finished_job(seed=1)
    with monkeypatch.context() as patch:
        patch.setattr("worker.mirror.tracking.Tracking.delete_run", die)
        with pytest.raises(Killed):
            drain(settings, tracking)
    assert reader.client.get_run(gone).info.lifecycle_stage == "active"
    assert drain(settings, tracking) == 0
    assert reader.client.get_run(gone).info.lifecycle_stage == "deleted"


def test_a_renamed_experiment_is_found_by_its_id(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    project_rows.add_finished_job()
    drain(settings, tracking)
    experiment = reader.client.get_experiment_by_name(project_rows.project).experiment_id
    reader.client.rename_experiment(experiment, f"{project_rows.project}: our best")
    project_rows.add_finished_job(seed=1)
    assert drain(settings, tracking) == 0
    assert reader.client.get_experiment_by_name(project_rows.project) is None
    assert len(reader.runs(f"{project_rows.project}: our best")) == 2


def test_a_project_does_not_take_another_projects_experiment_that_got_its_name(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    other = make_project_rows(project_rows.sessions)
    project_rows.add_finished_job()
    drain(settings, tracking)
    experiment = reader.client.get_experiment_by_name(project_rows.project).experiment_id
    reader.client.rename_experiment(experiment, other.project)
    other.add_finished_job()
    assert drain(settings, tracking) == 0
    assert len(reader.runs(other.project)) == 1
    assert len(reader.runs(f"{other.project} (2)")) == 1


def test_a_run_deleted_for_good_is_said_and_not_made_anew(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_job()
    project_rows.start(job)
    project_rows.train(job, [1])
    drain(settings, tracking)
    lose_runs(project_rows)
    project_rows.train(job, [2])
    assert drain(settings, tracking) == 0
    assert len(reader.runs(project_rows.project, ViewType.ALL)) == 1
    [problem] = problems(project_rows)[f"job {job}"]
    assert problem.kind == "deleted"
    assert "--repair" in problem.reason


def test_runs_deleted_for_good_are_asked_for_and_logged_once(
    project_rows: ProjectRows,
    settings: Settings,
    tracking: Tracking,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = [project_rows.add_finished_job(seed=seed) for seed in (0, 1)]
    drain(settings, tracking)
    runs = {job: reader.run_of(project_rows.project, job=job).info.run_id for job in jobs}
    for run_id in runs.values():
        reader.client.delete_run(run_id)
    drain(settings, tracking)
    lose_runs(project_rows)
    asked: list[str] = []
    stage_of = tracking.stage_of
    monkeypatch.setattr(tracking, "stage_of", lambda one: (asked.append(one), stage_of(one))[1])

    deletions = make_deletions(project_rows, tracking)
    with capture_logs() as logs:
        for _ in range(3):
            deletions.search()
        # As after an outage.
        make_deletions(project_rows, tracking).search()
    assert len(asked) == 2 * len(jobs)
    assert [line["event"] for line in logs] == ["run_deleted"] * len(jobs)
    assert all(
        "for good" in row.reason for job in jobs for row in problems(project_rows)[f"job {job}"]
    )

    find_runs(project_rows, runs)
    reader.client.restore_run(runs[jobs[0]])
    make_deletions(project_rows, tracking).search()
    assert problems(project_rows).keys() == {f"job {jobs[1]}"}


def test_runs_that_are_lost_with_their_experiment_are_made_anew_with_all_their_points(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    """As with an MLflow that was set up anew: the ids in SQL lead nowhere, or to somebody else's."""
    study = project_rows.add_study()
    job = project_rows.add_job(study=study)
    project_rows.start(job)
    project_rows.train(job, [1])
    drain(settings, tracking)
    experiment = reader.client.get_experiment_by_name(project_rows.project).experiment_id
    reader.client.rename_experiment(experiment, f"{project_rows.project}: before")
    reader.client.set_experiment_tag(experiment, "normlab.project", "somebody else's")
    lose_runs(project_rows)
    project_rows.train(job, [2])
    assert drain(settings, tracking) == 0
    run = reader.run_of(project_rows.project, job=job)
    assert [step for step, _ in reader.points(run, "val/loss")] == [1, 2]
    parent = reader.run_of(project_rows.project, study=study)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert problems(project_rows) == {}


def make_deletions(project_rows: ProjectRows, tracking: Tracking) -> Deletions:
    """As a mirror makes it when it starts and after each outage."""
    return Deletions(project_rows.sessions, tracking, Experiments(project_rows.sessions, tracking))


def find_runs(project_rows: ProjectRows, runs: Mapping[int, str]) -> None:
    """As after a restored backup of MLflow: the ids in SQL lead to these jobs' runs again."""
    with project_rows.sessions.begin() as session:
        for job_id, run_id in runs.items():
            query = update(Mirrored).where(Mirrored.job_id == job_id)
            session.execute(query.values(run_id=run_id))


def lose_runs(project_rows: ProjectRows) -> None:
    """As after `mlflow gc`: the ids in SQL lead nowhere."""
    with project_rows.sessions.begin() as session:
        session.execute(update(Mirrored).values(run_id=func.md5(Mirrored.run_id)))
