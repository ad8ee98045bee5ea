"""Links lead to MLflow's pages of what is mirrored, and nowhere for what isn't."""

from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Mirrored
from store.mlflow.links import job_urls, run_url, study_urls, table_url
from tests.support.factories import make_job, make_study


def test_a_link_opens_the_view_of_model_training() -> None:
    view = "workflowType=machine_learning"
    base = "http://localhost:5000"
    assert run_url(f"{base}/", "3", "abc") == f"{base}/#/experiments/3/runs/abc?{view}"
    table = f"{base}/#/experiments/3/runs?{view}&viewStateShareKey=normlab"
    assert table_url(run_url(base, "3", "abc")) == table


def test_only_what_has_a_run_has_a_link(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        job, begun, unseen = (make_job(session).id for _ in range(3))
        study = make_study(session).id
        session.add_all(
            [
                Mirrored(job_id=job, run_id="a", experiment_id="1"),
                Mirrored(job_id=begun, run_id="", experiment_id="1"),
                Mirrored(study_id=study, run_id="b", experiment_id="1"),
            ]
        )
        session.flush()
        jobs = job_urls(session, "http://here", [job, begun, unseen])
        assert jobs == {job: run_url("http://here", "1", "a")}
        assert study_urls(session, "http://here", [study]) == {
            study: run_url("http://here", "1", "b")
        }
