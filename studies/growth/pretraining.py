"""From the pretraining of a seed to the jobs that begin from it, in the transaction that closes the pretraining: there is no moment
at which it has ended and nothing follows."""

from sqlalchemy.orm import Session

from store.catalog import initial_weights
from store.db import DatasetUnavailable, Job, NotFound
from store.studies import studies
from studies.spec import expand_pretrained, read_study
from studies.tuning import UnheardRequest, add_cells
from trainer.spec import InitFrom


def is_pretraining(session: Session, job: Job) -> bool:
    """The one trial of an arm for which a search has no range tries an empty setting, too."""
    if job.study_id is None or job.trial != {}:
        return False
    study = studies.find(session, job.study_id)
    return study is not None and study.spec.get("pretrain") is not None


def begin_arms(session: Session, job: Job, request: UnheardRequest | None = None) -> None:
    """After a pretraining has succeeded: makes the jobs of its seed, with the digest of the checkpoint that they begin from.
    `request`: meets what is made, or a study that was cancelled would go on.

    Nothing follows from one that has no such checkpoint, nor where the data of the arms are gone; the study says so.
    """
    assert job.study_id is not None
    study = studies.lock(session, job.study_id)

    def find(wanted: InitFrom) -> InitFrom:
        of_job = wanted.model_copy(update={"job": job.id})
        digest = initial_weights.find(session, of_job).digest
        return of_job.model_copy(update={"digest": digest})

    try:
        add_cells(
            session, study, expand_pretrained(read_study(study.spec), job.seed, find), request
        )
    except (NotFound, DatasetUnavailable) as error:
        study.warnings = [*study.warnings, f"no arm has a job at seed {job.seed}: {error}"]
        session.flush()
