"""How often the export of a job's model was begun: counted before each try, so that one that takes the whole
mirror along counts, too."""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from store.db import Mirrored

#: In the state of a job's row of `mirrored`, until something has become of the model.
KEY = "exports"


def begin(session: Session, job_id: int) -> int:
    """The number of this try, from 1."""
    row = session.scalars(_row(job_id)).one()
    number = int(row.state.get(KEY, 0)) + 1
    row.state = {**row.state, KEY: number}
    return number


def take_back(session: Session, job_id: int) -> None:
    """The try that was begun last says nothing about the model."""
    row = session.scalars(_row(job_id)).one_or_none()
    if row is not None:
        row.state = {**row.state, KEY: max(0, int(row.state.get(KEY, 0)) - 1)}


def _row(job_id: int) -> Select[Mirrored]:
    return select(Mirrored).where(Mirrored.job_id == job_id).with_for_update()
