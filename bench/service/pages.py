"""Pages over histories of growing length: the server's time, and what a browser loads of each with all its files."""

import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from api.web.render import PAGES
from bench.harness import history
from bench.harness.database import make_database
from bench.harness.figures import Figure, Section, at_most
from bench.harness.progress import say
from bench.service.histories import EPOCHS_PER_JOB, QUEUED
from bench.service.queries import (
    InProcess,
    RouteTimes,
    find_newest,
    measure_route,
    serve_in_process,
)
from store.db import Changes, make_engine, notify
from store.db.engine import JOBS_CHANNEL

MOST_MILLISECONDS, MOST_KILOBYTES = 150, 150
STUDY_ANEW = "a study of 1,000 jobs, after one has changed"

_CHECKPOINTS = """
INSERT INTO checkpoints (job_id, attempt, kind, epoch, step, path, digest, bytes)
SELECT job.id, 1, file.kind, 1, job.step, 'jobs/' || job.id || '/attempt-1/' || file.kind || '.pt', md5(CAST(job.id AS text)), 150000
FROM jobs AS job CROSS JOIN (VALUES ('last'), ('best')) AS file (kind) WHERE job.status = 'succeeded'
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class PageSizes:
    """All pages at one length of the history; `kilobytes`: compressed, with all files of the page."""

    jobs: int
    times: Sequence[RouteTimes]
    kilobytes: Mapping[str, float]


def measure_pages(folder: Path, *, sizes: Sequence[int], requests: int) -> Section:
    """One database that grows."""
    measured: list[PageSizes] = []
    with make_database(folder) as (server, engine):
        reached = 0
        for size in sizes:
            say(f"pages: filling up to {size} jobs of {EPOCHS_PER_JOB} epochs")
            queued = QUEUED if reached == 0 else 0
            history.fill(engine, jobs=size - reached, epochs_per_job=EPOCHS_PER_JOB, queued=queued)
            with engine.begin() as connection:
                connection.execute(text(_CHECKPOINTS))
            reached = size
            measured.append(_measure_size(server.url("bench"), size, requests))
    figures = [*_absolute(measured[-1]), *_growth(measured)]
    rows = {str(one.jobs): asdict(one) for one in measured}
    return Section(f"Pages over {sizes[-1]:,} jobs", figures, rows)


def _measure_size(url: str, jobs: int, requests: int) -> PageSizes:
    engine = make_engine(url)
    with (
        tempfile.TemporaryDirectory() as storage,
        serve_in_process(engine, url, Path(storage), "admin") as client,
    ):
        times = [
            *(
                measure_route(engine, client, name, path, {}, requests)
                for name, path in _paths(engine).items()
            ),
            _measure_anew(engine, client, requests),
        ]
        kilobytes = {name: _weigh(client, path) for name, path in _paths(engine).items()}
    engine.dispose()
    return PageSizes(jobs, times, kilobytes)


def _paths(engine: Engine) -> Mapping[str, str]:
    """By what each is called: those of the navigation, and what they lead to."""
    job, study = find_newest(engine)
    return {
        **{name.lower(): path for path, name in PAGES.items()},
        "a study of 1,000 jobs": f"/studies/{study}",
        "a job": f"/jobs/{job}",
        "a preset": "/presets/norms-compared",
        "a dataset": "/datasets/digits",
        "results of a query": "/results?query=norm.kind%3Dgroup&sort=-best_val_accuracy",
        "groups of 1,000 jobs": f"/results?query=study%3D{study}&by=norm.kind",
        "160 jobs side by side": f"/compare?query=study%3D{study}+and+seed%3C8&by=norm.kind",
        "admin": "/admin",
        "admin: sizes": "/admin/storage",
        "admin: whose": "/admin/disk",
        "catalogue": "/catalog",
    }


def _measure_anew(engine: Engine, client: InProcess, requests: int) -> RouteTimes:
    """It is shown with the results of before, while newer ones are made beside the requests."""
    job, study = find_newest(engine)
    changes: Changes = client.app.state.services.changes

    def change() -> None:
        before = changes.mark
        with Session(engine) as session, session.begin():
            notify(session, JOBS_CHANNEL, str(job))
        while changes.since(before) is None:
            time.sleep(0.01)

    return measure_route(
        engine, client, STUDY_ANEW, f"/studies/{study}", {}, max(5, requests // 5), change
    )


def _weigh(client: InProcess, path: str) -> float:
    """Kilobytes as they are sent."""
    page = client.get(path).text
    assets = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    count = 0
    for address in (path, *assets):
        answer = client.get(address, headers={"Accept-Encoding": "gzip"})
        count += answer.num_bytes_downloaded
    return count / 1000


def _absolute(measured: PageSizes) -> Iterator[Figure]:
    for one in measured.times:
        note = f"{one.statements} statements"
        yield Figure(f"{one.name}: 95 %", one.p95, "ms", at_most(MOST_MILLISECONDS), note)
    for name, count in measured.kilobytes.items():
        yield Figure(f"{name}: with all its files", count, "kB", at_most(MOST_KILOBYTES))


def _growth(measured: Sequence[PageSizes]) -> Iterator[Figure]:
    """The page whose median has grown most from the shortest history to the longest."""
    first = {one.name: one.p50 for one in measured[0].times}
    growth = {one.name: one.p50 / first[one.name] for one in measured[-1].times}
    name = max(growth, key=growth.__getitem__)
    sizes = f"{measured[0].jobs:,} to {measured[-1].jobs:,} jobs"
    yield Figure(f"largest growth of a median, {sizes}", growth[name], "times", note=name)
