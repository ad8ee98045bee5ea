"""Searches and tunings that halt because the kernel killed their last trial: its worker's parent ended it, and makes nothing.

What follows is made by a process of its own, which may load torch: the sweep stays small.
"""

import subprocess
import sys

import structlog
from sqlalchemy.orm import Session, sessionmaker

from store.studies import list_unchosen
from studies.tuning import OWN_FAILURES, is_halted

log = structlog.get_logger(__name__)

#: Beyond it something is wrong; it is tried again later.
SECONDS = 300.0


def continue_halted(sessions: sessionmaker[Session]) -> list[int]:
    """The studies that went on."""
    with sessions.begin() as session:
        unchosen = list_unchosen(session, OWN_FAILURES)
        halted = [study_id for study_id in unchosen if is_halted(session, study_id)]
    return [study_id for study_id in halted if _continue(study_id)]


def _continue(study_id: int) -> bool:
    command = [sys.executable, "-m", "worker.execution", str(study_id)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or "").strip()[-2000:]
        log.error("a search could not go on", study=study_id, error=str(error), said=said)
        return False
    log.info("a search goes on whose last trial the kernel had killed", study=study_id)
    return True
