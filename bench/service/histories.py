"""Queries over histories of growing length, and MLflow's own beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.harness import history
from bench.harness.database import make_database
from bench.harness.figures import Figure, Section, at_least, at_most
from bench.harness.mlflow_history import fill_mlflow
from bench.harness.progress import say
from bench.harness.turns import Failure, catch_failure, describe_failures
from bench.service.queries import MlflowTimes, QueryTimes, measure_mlflow, measure_queries
from normlab.stack.servers import Postgres

EPOCHS_PER_JOB = 50
QUEUED = 1000
#: Where ours is compared with MLflow.
COMPARED = 10_000
SORTED, GROUPED = "results, filtered and sorted", "groups of all jobs"


def measure_histories(folder: Path, *, sizes: Sequence[int], requests: int) -> Section:
    """One database that grows; MLflow has one of its own on the same server."""
    ours: list[QueryTimes] = []
    mlflow: MlflowTimes | Failure | None = None
    with make_database(folder) as (server, engine):
        reached = 0
        for size in sizes:
            say(f"queries: filling up to {size} jobs of {EPOCHS_PER_JOB} epochs")
            queued = QUEUED if reached == 0 else 0
            history.fill(engine, jobs=size - reached, epochs_per_job=EPOCHS_PER_JOB, queued=queued)
            reached = size
            ours.append(measure_queries(server.url("bench"), requests=requests))
            if size == COMPARED:
                say(f"queries: MLflow with {size} runs")
                mlflow = catch_failure(lambda: _measure_mlflow(server, requests))
    figures = [*_absolute(ours[-1]), *_growth(ours)]
    match mlflow:
        case MlflowTimes():
            figures += _beside_mlflow(ours[sizes.index(COMPARED)], mlflow)
        case Failure():
            figures.append(Figure("MLflow's queries", None, note=describe_failures([mlflow])))
    rows = {str(size): asdict(times) for size, times in zip(sizes, ours, strict=True)}
    title = f"Queries over {sizes[-1]:,} jobs and {sizes[-1] * EPOCHS_PER_JOB:,} epochs"
    return Section(title, figures, {**rows, "mlflow": mlflow and asdict(mlflow)})


def _measure_mlflow(server: Postgres, requests: int) -> MlflowTimes:
    server.create_databases("mlflow")
    experiment = fill_mlflow(server.url("mlflow"), COMPARED)
    return measure_mlflow(server.url("mlflow"), experiment, requests=requests)


def _absolute(times: QueryTimes) -> Iterator[Figure]:
    for route in times.routes:
        note = f"{route.statements} statements"
        yield Figure(f"{route.name}: 95 %", route.p95, "ms", at_most(50), note)
    for what, rows in times.export_rows.items():
        yield Figure(f"export, {what}", rows, "rows/s", at_least(20_000))


def _growth(ours: Sequence[QueryTimes]) -> Iterator[Figure]:
    """The route whose median has grown most from the shortest history to the longest."""
    first = {route.name: route.p50 for route in ours[0].routes}
    growth = {route.name: route.p50 / first[route.name] for route in ours[-1].routes}
    name = max(growth, key=growth.__getitem__)
    sizes = f"{ours[0].jobs:,} to {ours[-1].jobs:,} jobs"
    yield Figure(f"largest growth of a median, {sizes}", growth[name], "times", note=name)


def _beside_mlflow(ours: QueryTimes, mlflow: MlflowTimes) -> Iterator[Figure]:
    medians = {route.name: route.p50 for route in ours.routes}
    runs = f"{mlflow.runs:,} runs"
    search = mlflow.search_p50 / medians[SORTED]
    yield Figure(f"MLflow's best search ÷ ours, {runs}", search, "times", at_least(8))
    group = 1000 * mlflow.group_seconds / medians[GROUPED]
    yield Figure(f"MLflow's client-side group-by ÷ ours, {runs}", group, "times", at_least(500))
