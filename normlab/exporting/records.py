"""The records of jobs: fetched once, and kept until the job changes."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from normlab.client import FINAL, Client, outlast_outage
from normlab.errors import Refused
from normlab.exporting.folder import Progress

Item: TypeAlias = dict[str, Any]

#: All that is recorded of a job, as the service calls it, and how much one answer may hold.
_PAGES: Mapping[str, int | None] = {
    "transitions": None,
    "attempts": None,
    "epochs": 5000,
    "diagnostics": 5000,
    "logs": 5000,
    "checkpoints": None,
    "files": None,
}
#: Requests at once: an answer takes longer on its way than to be made.
_AT_ONCE = 4
_JOBS_PER_FOLDER = 1000


@dataclass(frozen=True, slots=True)
class Records:
    """Of all jobs of an export, one after the other; on disk, because of many jobs they would not fit in memory."""

    folder: Path
    jobs: Sequence[Item]

    def __iter__(self) -> Iterator[tuple[Item, Mapping[str, list[Item]]]]:
        for job in self.jobs:
            yield job, _read(_path(self.folder, job))["parts"]

    def rows(self, part: str) -> Iterator[Item]:
        """Of one kind, each with the id of its job."""
        for job, parts in self:
            for row in parts[part]:
                yield {"job_id": job["id"], **row}


def fetch_records(
    client: Client, folder: Path, jobs: Sequence[Item], progress: Progress
) -> Records:
    """Jobs that are deleted meanwhile are left out."""
    progress.begin("records of jobs", len(jobs))
    fetched: list[Item] = []
    pool = ThreadPoolExecutor(_AT_ONCE, "records")
    try:
        for job in pool.map(partial(_ensure_record, client, folder), jobs):
            if job is not None:
                fetched.append(job)
            progress.advance()
    finally:
        # Ctrl-C waits for the requests under way, and not for all that would come.
        pool.shutdown(cancel_futures=True)
    return Records(folder, fetched)


def _ensure_record(client: Client, folder: Path, job: Item) -> Item | None:
    path = _path(folder, job)
    state = {name: job[name] for name in ("status", "attempt", "queued_at", "finished_at")}
    # What has ended changes only by being started again, which changes these.
    if job["status"] in FINAL and path.exists() and _read(path)["state"] == state:
        return job
    try:
        parts = {part: _fetch(client, job, part) for part in _PAGES}
    except Refused as error:
        if error.status != 404:
            raise
        return None
    _write(path, {"state": state, "parts": parts})
    return job


def _fetch(client: Client, job: Item, part: str) -> list[Item]:
    # Nothing is asked for that cannot be there: most jobs measure nothing inside the network.
    if part == "diagnostics" and job["spec"].get("diagnostics", {}).get("kind") == "off":
        return []
    rows: list[Item] = []
    limit, cursor = _PAGES[part], None
    while True:
        read = partial(client.get, f"jobs/{job['id']}/{part}", limit=limit, cursor=cursor)
        answer = outlast_outage(read)
        rows += answer["items"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return rows


def _path(folder: Path, job: Mapping[str, Any]) -> Path:
    return folder / "jobs" / str(job["id"] // _JOBS_PER_FOLDER) / f"{job['id']}.json.gz"


def _read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(gzip.compress(json.dumps(record).encode(), compresslevel=1))
    unfinished.replace(path)
