"""`python -m worker.mirror`, killed between a batch of a job's points and its watermark."""

import os
import signal
import sys
from collections.abc import Sequence

from sqlalchemy.orm import Session

import store.mlflow.mirror
import worker.mirror.__main__ as program
from store.db.models import Mirrored

_save = store.mlflow.mirror.save


def save_studies_only(session: Session, rows: Sequence[Mirrored]) -> set[int]:
    if any(row.job_id is not None for row in rows):
        os.kill(os.getpid(), signal.SIGKILL)
    return _save(session, rows)


if __name__ == "__main__":
    store.mlflow.mirror.save = save_studies_only
    sys.exit(program.main())
