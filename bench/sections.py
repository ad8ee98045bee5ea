"""The sections of the benchmark, in the order in which they run. Each imports what it measures by itself."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from bench.harness.figures import Figure, Section, at_least, at_most
from bench.harness.progress import say

# What a section imports would be in the memory and the start of those that don't need it.


@dataclass(frozen=True, slots=True)
class Effort:
    """`quick`: three minutes for all sections together, for a look; goals are judged by a full run."""

    rounds: int
    quick: bool = False


#: Runs in a process of its own, with an empty folder.
Run: TypeAlias = Callable[[Path, Effort], Section]


def imports(folder: Path, effort: Effort) -> Section:
    """What `import api.app` and `normlab --help` take."""
    from bench.service.start import measure_imports

    return measure_imports(rounds=effort.rounds)


def steps(folder: Path, effort: Effort) -> Section:
    """A training step of cnn (width 32, batch 64) on digits under each norm, one thread."""
    from bench.training.steps import measure_steps

    rows = measure_steps(folder, rounds=_many(effort))
    figures = [
        figure
        for row in rows
        for figure in (
            Figure(f"{row.norm}: step", row.milliseconds, "ms"),
            Figure(f"{row.norm}: step ÷ none", row.ratio),
        )
    ]
    return Section("One training step", figures)


def lightning(folder: Path, effort: Effort) -> Section:
    """A training step beside that of Lightning, and beside torch's plain optimizer."""
    from bench.training.lightning import measure_lightning

    return measure_lightning(folder, rounds=effort.rounds)


def layers(folder: Path, effort: Effort) -> Section:
    """Local response norm on 32×64×16×16, forward and backward, one thread."""
    from bench.training.layers import measure_lrn

    lrn = measure_lrn(rounds=_many(effort))
    figures = [
        Figure("ours", lrn.ours_milliseconds, "ms"),
        Figure("torch's own", lrn.stock_milliseconds, "ms"),
        Figure("torch's ÷ ours", lrn.ratio),
    ]
    return Section("Local response norm on 32×64×16×16", figures)


def looks(folder: Path, effort: Effort) -> Section:
    """A training with diagnostics every epoch beside one without."""
    from bench.training.looks import measure_looks

    ratio = measure_looks(folder, rounds=_many(effort))
    return Section("Diagnostics", [Figure("step with diagnostics every epoch ÷ without", ratio)])


def path(folder: Path, effort: Effort) -> Section:
    """What the way through the service costs a job: acquired from SQL, leased, recorded."""
    from bench.service.path import measure_path

    return measure_path(folder, rounds=effort.rounds)


def claims(folder: Path, effort: Effort) -> Section:
    """Acquiring a job beside 100,000 ended and 1,000 queued ones, by 16 workers."""
    from bench.acquire import AcquireCost, measure_acquire
    from bench.harness import history
    from bench.harness.database import make_database

    jobs = 10_000 if effort.quick else 100_000
    with make_database(folder) as (server, engine):
        history.fill(engine, jobs=jobs, queued=1000, epochs_per_job=1)
        # No connection of ours may be used in a child.
        engine.dispose()
        each = 5 if effort.quick else 20
        costs = []
        for number in range(effort.rounds):
            say(f"claims, round {number + 1} of {effort.rounds}")
            costs.append(measure_acquire(server.url("bench"), each=each))
    together = AcquireCost(
        sorted(milliseconds for cost in costs for milliseconds in cost.milliseconds),
        median(cost.cpu_milliseconds for cost in costs),
    )
    figures = [
        Figure("acquire: median", together.quantile(0.5), "ms"),
        Figure("acquire: 99 %", together.quantile(0.99), "ms", at_most(10)),
        Figure("acquire and end: CPU", together.cpu_milliseconds, "ms"),
    ]
    title = f"Claims beside {jobs:,} ended and 1,000 queued jobs, 16 workers"
    return Section(title, figures, {"milliseconds": together.milliseconds})


def posts(folder: Path, effort: Effort) -> Section:
    """`POST /jobs` at 32 connections, and a study of 1,000 cells planned and created; no worker runs."""
    from bench.harness.api import serve
    from bench.service.posts import PostCost, measure_posts

    costs: list[PostCost] = []
    with serve(folder) as (url, _, member):
        for number in range(effort.rounds):
            say(f"posts, round {number + 1} of {effort.rounds}")
            costs.append(measure_posts(url, member, seconds=5.0 if effort.quick else 10.0))

    def middle(name: str) -> float:
        return median(getattr(cost, name) for cost in costs)

    figures = [
        Figure("jobs accepted", middle("per_second"), "/s", at_least(150)),
        Figure("POST: median", middle("p50_milliseconds"), "ms"),
        Figure("POST: 99 %", middle("p99_milliseconds"), "ms", at_most(150)),
        Figure("plan of 1,000 cells", middle("plan_seconds"), "s", at_most(2)),
        Figure("study of 1,000 cells after its plan", middle("create_seconds"), "s", at_most(1)),
    ]
    return Section("Submission", figures, {"rounds": [asdict(cost) for cost in costs]})


def queries(folder: Path, effort: Effort) -> Section:
    """Routes that read the history, at three sizes of it, and MLflow's search and group-by beside ours."""
    from bench.service.histories import measure_histories

    sizes = (1000, 10_000) if effort.quick else (1000, 10_000, 100_000)
    return measure_histories(folder, sizes=sizes, requests=10 if effort.quick else 50)


def pages(folder: Path, effort: Effort) -> Section:
    """Pages at three lengths of the history: the server's time, and the bytes that a browser loads."""
    from bench.service.pages import measure_pages

    sizes = (1000, 10_000) if effort.quick else (1000, 10_000, 100_000)
    return measure_pages(folder, sizes=sizes, requests=10 if effort.quick else 50)


def paint(folder: Path, effort: Effort) -> Section:
    """Pages in Chromium: when each is first painted, with an empty cache."""
    from bench.service.paint import measure_paint

    return measure_paint(folder, rounds=effort.rounds)


def listeners(folder: Path, effort: Effort) -> Section:
    """500 open pages that follow changes: when each hears of one, and the process's memory."""
    from bench.service.listeners import measure_listeners

    count, changes = (100, 20) if effort.quick else (500, 100)
    return measure_listeners(folder, listeners=count, changes=changes)


def start(folder: Path, effort: Effort) -> Section:
    """The start of a stack, its memory and CPU at rest, one job alone."""
    from bench.service.start import measure_start

    return measure_start(folder, rounds=effort.rounds)


def mirror(folder: Path, effort: Effort) -> Section:
    """One-epoch jobs, which end as fast as jobs can, and how far MLflow is behind."""
    from bench.service.mirror import measure_mirror

    # A round is hundreds of jobs.
    return measure_mirror(folder, rounds=min(3, effort.rounds))


def login(folder: Path, effort: Effort) -> Section:
    """Searches in MLflow with Normlab's login before it, and without."""
    from bench.service.login import measure_login

    return measure_login(folder, requests=10 * effort.rounds)


def hostile(folder: Path, effort: Effort) -> Section:
    """Two thousand hostile requests, and a neighbour's `GET /jobs` beside them."""
    from bench.service.hostile import measure_hostile

    return measure_hostile(folder, requests=500 if effort.quick else 2000)


def sweep(folder: Path, effort: Effort) -> Section:
    """The sweep of 12 trainings beside the bare loop, Celery, multiprocessing with MLflow, and Ray Tune."""
    from bench.sweep.section import CONTESTANTS, FEW, measure_sweep

    names = FEW if effort.quick else tuple(CONTESTANTS)
    return measure_sweep(folder, rounds=effort.rounds, names=names)


SECTIONS: Mapping[str, Run] = {
    run.__name__: run
    for run in (
        imports,
        steps,
        lightning,
        layers,
        looks,
        path,
        claims,
        posts,
        queries,
        pages,
        paint,
        listeners,
        start,
        mirror,
        login,
        hostile,
        sweep,
    )
}
#: Of one section; past that its processes are killed, so that it fails and the next one begins.
MOST_SECONDS = 1800.0
#: Those that three minutes are enough for.
QUICK = ("imports", "path", "claims", "posts", "sweep")


def measure(name: str, folder: str, effort: Effort) -> dict[str, Any]:
    """What a section measured, as JSON. Here and not in `__main__`, which another process imports by another name."""
    from bench.harness.process_tree import limit_time

    with limit_time(MOST_SECONDS):
        return SECTIONS[name](Path(folder), effort).describe()


def _many(effort: Effort) -> int:
    """Rounds of what takes milliseconds."""
    return 10 if effort.quick else 6 * effort.rounds
