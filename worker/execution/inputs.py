"""What an attempt needs before it starts: of an object store its dataset and its checkpoints, as files of this host; of the
database what ends a trial early."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import DamagedFile
from runtime.storage import Storage, StorageAway, fetch_folder
from store.db import DATABASE_AWAY
from studies.tuning import TrialStop, read_trial_stop
from trainer.events import CheckpointSaved

log = structlog.get_logger(__name__)

#: An attempt waits so long for an object store that is away, then it ends.
PATIENCE_SECONDS = 1800.0
RETRY_SECONDS = 2.0

Result = TypeVar("Result")
WriteLog = Callable[[str, str], None]


def folder_of_dataset(digest: str) -> str:
    """Its key."""
    return f"datasets/{digest}"


def retry_until_there(
    action: Callable[[], Result], goes_on: Callable[[], bool], say: WriteLog
) -> Result | None:
    """Again and again while the storage is away; None once nothing `goes_on`. Raises StorageError when it has been
    away too long."""
    began = time.monotonic()
    is_said = False
    while goes_on():
        try:
            return action()
        except StorageAway as error:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise
            if not is_said:
                say("warning", f"{error}: the job waits for it")
                is_said = True
            time.sleep(RETRY_SECONDS)
    return None


def fetch_inputs(
    storage: Storage,
    dataset: str,
    checkpoints: Sequence[CheckpointSaved],
    progressed: Callable[[], None],
    say: WriteLog,
) -> list[CheckpointSaved]:
    """The checkpoints with their paths on this host; one that can't be had is found missing when it is read."""
    try:
        fetch_folder(storage, folder_of_dataset(dataset), progressed)
    except DamagedFile as error:
        # It may be made anew here, as the built-in ones are.
        say("warning", f"the dataset can't be fetched: {error}")
    for saved in checkpoints:
        try:
            storage.fetch(saved.path, saved.digest, progress=progressed)
        except (DamagedFile, FileNotFoundError) as error:
            say("warning", f"a checkpoint can't be fetched: {error}")
    return [replace(saved, path=str(storage.root / saved.path)) for saved in checkpoints]


def fetch_trial_stop(
    sessions: sessionmaker[Session], job_id: int, goes_on: Callable[[], bool]
) -> TrialStop | None:
    """None of a job that is trained to its end whatever comes out; waits for a database that is away while it `goes_on`."""
    while goes_on():
        try:
            with sessions.begin() as session:
                return read_trial_stop(session, job_id)
        except DATABASE_AWAY:
            time.sleep(RETRY_SECONDS)
    return None
