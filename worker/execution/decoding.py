"""A dataset's registration: decoded step by step, then stored for all hosts."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from runtime.storage import Storage, store_folder
from store.jobs import Assignment
from trainer.data import decode
from trainer.spec import DatasetInfo, DatasetSource
from worker.execution.heartbeat import Heartbeat
from worker.execution.inputs import WriteLog, folder_of_dataset, retry_until_there

#: The job's log says how far it is, no more often than this.
PROGRESS_SECONDS = 2.0


def decode_dataset(
    assignment: Assignment,
    storage: Storage,
    roots: Sequence[Path],
    heartbeat: Heartbeat,
    say: WriteLog,
    should_stop: Callable[[], bool],
) -> DatasetInfo | None:
    """None where it was stopped. Raises DataError."""
    source: DatasetSource = TypeAdapter(DatasetSource).validate_python(assignment.source)
    steps = decode(assignment.dataset_name, source, storage.root / "datasets", roots)
    said_at = -math.inf
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return _store(storage, end.value, heartbeat, say, should_stop)
        heartbeat.progressed()
        used = heartbeat.seconds_used
        # Rarer the longer it takes, so that a log of hours can still be read.
        if used - said_at >= max(PROGRESS_SECONDS, used / 50):
            say("info", progress.what)
            said_at = used
        if should_stop():
            steps.close()
            return None


def _store(
    storage: Storage,
    info: DatasetInfo,
    heartbeat: Heartbeat,
    say: WriteLog,
    should_stop: Callable[[], bool],
) -> DatasetInfo | None:
    """Before it is ready, all hosts can have it."""
    if not storage.is_remote:
        return info

    def store() -> DatasetInfo:
        store_folder(storage, folder_of_dataset(info.digest), heartbeat.progressed)
        return info

    def goes_on() -> bool:
        heartbeat.progressed()
        return not should_stop()

    return retry_until_there(store, goes_on, say)
