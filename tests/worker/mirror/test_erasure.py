"""What was deleted in Normlab leaves nothing in MLflow: no run, no file, no model, no experiment."""

import httpx
import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy import select

from store.catalog import projects
from store.db.models import Deletion
from store.deletions import deleting
from tests.support.mirrored import BEGIN, ProjectRows, Reader
from tests.support.mlflow_server import MIRROR_TOKEN
from worker.mirror.__main__ import Settings, drain
from worker.mirror.tracking import Tracking
from worker.mlflow_server import erasing

pytestmark = pytest.mark.usefixtures("mlflow_server")


def all_runs(project_rows: ProjectRows, reader: Reader) -> set[str]:
    return {run.info.run_id for run in reader.runs(project_rows.project, ViewType.ALL)}


def test_runs_go_for_good_with_their_files_and_those_that_they_had_replaced(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    study = project_rows.add_study()
    project_rows.add_finished_job(study=study)
    job, kept = project_rows.add_finished_job(seed=1), project_rows.add_finished_job(seed=2)
    drain(settings, tracking)
    run = reader.run_of(project_rows.project, job=job)
    assert reader.files(run)
    old = tracking.create_run(run.info.experiment_id, "old", BEGIN, {"normlab.job": str(job)})
    tracking.retire_run(old)
    with project_rows.sessions.begin() as session:
        deleting.delete_study(session, study)
        deleting.delete_job(session, job)
    assert drain(settings, tracking) == 0
    left = reader.run_of(project_rows.project, job=kept).info.run_id
    assert all_runs(project_rows, reader) == {left}
    with pytest.raises(MlflowException, match=old):
        reader.client.get_run(old)
    place = f"{run.info.experiment_id}/{run.info.run_id}/artifacts"
    found = httpx.get(
        f"{settings.mlflow_url}/api/2.0/mlflow-artifacts/artifacts",
        params={"path": place},
        headers={"Authorization": f"Bearer {MIRROR_TOKEN}"},
    )
    assert found.json() == {}
    with project_rows.sessions.begin() as session:
        assert all(session.scalars(select(Deletion.runs_at)))


def test_a_projects_experiment_goes_unless_another_has_taken_it_over(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    project_rows.add_finished_job()
    drain(settings, tracking)
    experiment = reader.client.get_experiment_by_name(project_rows.project)
    assert experiment is not None
    delete_project(project_rows)
    assert drain(settings, tracking) == 0
    with pytest.raises(MlflowException, match=experiment.experiment_id):
        reader.client.get_experiment(experiment.experiment_id)
    assert drain(settings, tracking) == 0


def test_a_run_that_was_about_to_be_made_is_found_by_its_key(
    project_rows: ProjectRows, settings: Settings, tracking: Tracking, reader: Reader
) -> None:
    job = project_rows.add_finished_job()
    drain(settings, tracking)
    with project_rows.sessions.begin() as session:
        deleting.delete_job(session, job)
        mark = session.scalars(select(Deletion)).one()
        # As left by a mirror that died before it had noted the run's id; and the tag with the job's came later.
        mark.mirrored = {
            name: one for name, one in (mark.mirrored or {}).items() if name != "run_id"
        }
        mark.subject_id += 1_000_000
    assert drain(settings, tracking) == 0
    assert all_runs(project_rows, reader) == set()


@pytest.mark.parametrize("path", ["", "/", "/1/a/artifacts", "1/../2/artifacts"])
def test_no_folder_but_a_runs_own_is_deleted(path: str) -> None:
    with pytest.raises(ValueError, match="no folder of a run"):
        erasing.ensure_within(path)


def delete_project(project_rows: ProjectRows) -> None:
    with project_rows.sessions.begin() as session:
        project = projects.find(session, project_rows.project)
        assert project is not None
        while deleting.delete_some_jobs(session, project):
            pass
        deleting.delete_project(session, project)
