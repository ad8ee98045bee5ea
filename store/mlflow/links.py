"""URLs of MLflow's pages of mirrored jobs and studies, built without a request to MLflow."""

from collections.abc import Collection, Mapping

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from store.db import Mirrored

# MLflow's page opens in its view for language models unless the address says otherwise.
_WORKFLOW = "workflowType=machine_learning"
#: The saved view, with useful columns, that the mirror gives every experiment.
VIEW = "normlab"


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """The page of a run, in the model-training view."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{_WORKFLOW}"


def table_url(url_of_run: str) -> str:
    """The table of all runs of the experiment that this run (`run_url`) is in, with useful columns."""
    experiment, _, _ = url_of_run.rpartition("/runs/")
    return f"{experiment}/runs?{_WORKFLOW}&viewStateShareKey={VIEW}"


def job_urls(session: Session, base: str, job_ids: Collection[int]) -> Mapping[int, str]:
    """The run's page of each of these jobs that is mirrored already."""
    return _urls(session, base, Mirrored.job_id, job_ids)


def study_urls(session: Session, base: str, study_ids: Collection[int]) -> Mapping[int, str]:
    """The parent run's page of each of these studies that is mirrored already."""
    return _urls(session, base, Mirrored.study_id, study_ids)


def _urls(
    session: Session,
    base: str,
    owner: InstrumentedAttribute[int | None],
    owner_ids: Collection[int],
) -> Mapping[int, str]:
    rows = session.execute(
        select(owner, Mirrored.experiment_id, Mirrored.run_id).where(
            owner.in_(owner_ids), Mirrored.run_id != ""
        )
    )
    return {
        owner_id: run_url(base, experiment_id, run_id)
        for owner_id, experiment_id, run_id in rows
        if owner_id is not None
    }
