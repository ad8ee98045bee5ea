"""The sweep by all contestants in turns: wall time to that of the bare loop, CPU seconds and memory."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError
from typing import Any, TypeAlias

from bench.harness.figures import Figure, Goal, Section, at_most
from bench.harness.process_tree import adopt_orphans
from bench.harness.progress import say
from bench.harness.turns import (
    Failure,
    describe_failures,
    median_ratio,
    pairs_of_successes,
    successes,
    take_turns,
    tolerate,
)
from bench.sweep import contestants
from bench.sweep.contestants import Cost
from bench.sweep.environments import peer_python
from bench.sweep.study import FULL, Size

Contestant: TypeAlias = Callable[[Path, Path, Size], Cost]

BARE, CELERY, NORMLAB = "bare loop, two cold processes", "hand-written Celery, warm", "Normlab"
POOL, RAY = "multiprocessing + MLflow", "Ray Tune, logging in the trial"
CONTESTANTS: Mapping[str, Contestant] = {
    BARE: contestants.run_bare,
    CELERY: contestants.run_celery,
    POOL: contestants.run_multiprocessing,
    RAY: contestants.run_ray,
    NORMLAB: contestants.run_normlab,
}
#: Their environments.
PEERS_OF: Mapping[str, str] = {CELERY: "celery", POOL: "mlflow", RAY: "ray"}
#: Those that the goals need.
FEW = (BARE, CELERY, NORMLAB)

#: 75 CPU seconds on a machine where the bare loop takes 67: others are faster or slower.
MOST_CPU = 1.12
#: Of one contestant, with its start and its stop.
MOST_SECONDS = 300.0
_GIGABYTE = 10**9

#: By contestant and round.
Costs: TypeAlias = Mapping[str, Sequence[Cost | Failure]]


def measure_sweep(
    folder: Path, *, rounds: int, names: Sequence[str] = tuple(CONTESTANTS), size: Size = FULL
) -> Section:
    adopt_orphans()
    _write_inputs(folder / "inputs", size)
    for name in PEERS_OF.keys() & set(names):
        # Not within a contestant's limit. One that can't be installed fails when its turn comes.
        with suppress(CalledProcessError):
            peer_python(PEERS_OF[name])
    numbers: dict[str, int] = {}

    def run(name: str) -> Cost:
        numbers[name] = numbers.get(name, 0) + 1
        place = folder / f"{list(CONTESTANTS).index(name)}-{numbers[name]}"
        place.mkdir()
        cost = CONTESTANTS[name](folder / "inputs", place, size)
        say(f"  {cost.wall_seconds:.1f} s, {cost.cpu_seconds:.1f} CPU s, "
            f"{cost.peak_bytes / _GIGABYTE:.2f} GB")  # fmt: skip
        return cost

    costs = take_turns(
        {name: tolerate(partial(run, name), MOST_SECONDS) for name in names},
        rounds,
        lambda number, name: say(f"sweep, round {number + 1} of {rounds}: {name}"),
    )
    return summarize(costs, size)


def summarize(costs: Costs, size: Size) -> Section:
    rows = {name: [_describe(cost) for cost in own] for name, own in costs.items()}
    figures = [figure for name in costs for figure in _figures_of(name, costs)]
    if CELERY in costs and NORMLAB in costs:
        ratio = _ratio(costs, NORMLAB, CELERY, _wall)
        figures.append(Figure("Normlab: wall ÷ warm Celery", ratio, goal=at_most(1.0)))
    if BARE in costs and NORMLAB in costs:
        figures.append(_difference_of_curves(costs))
    return Section(f"Sweep of {size.jobs} trainings, {size.epochs} epochs at most", figures, rows)


def _figures_of(name: str, costs: Costs) -> Iterator[Figure]:
    own: list[Cost] = successes(costs[name])

    def goal(value: float) -> Goal | None:
        return at_most(value) if name == NORMLAB else None

    note = describe_failures(costs[name])
    yield Figure(f"{name}: wall", _median(map(_wall, own)), "s", note=note)
    if BARE in costs:
        yield Figure(f"{name}: wall ÷ bare", _ratio(costs, name, BARE, _wall), goal=goal(0.85))
    yield Figure(f"{name}: CPU", _median(map(_cpu, own)), "s")
    if BARE in costs:
        yield Figure(f"{name}: CPU ÷ bare", _ratio(costs, name, BARE, _cpu), goal=goal(MOST_CPU))
    peak = _median(cost.peak_bytes / _GIGABYTE for cost in own)
    yield Figure(f"{name}: peak PSS", peak, "GB", goal(1.5))
    if name == NORMLAB:
        late = _median(cost.complete_seconds for cost in own if cost.complete_seconds is not None)
        yield Figure(f"{name}: last job's end to all in MLflow", late, "s", goal(10))


def _ratio(costs: Costs, name: str, base: str, part: Callable[[Cost], float]) -> float | None:
    pairs = pairs_of_successes(costs[name], costs[base])
    ours, theirs = [part(one) for one, _ in pairs], [part(other) for _, other in pairs]
    return median_ratio(ours, theirs) if pairs else None


def _median(values: Iterable[float]) -> float | None:
    known = [*values]
    return median(known) if known else None


def _wall(cost: Cost) -> float:
    return cost.wall_seconds


def _cpu(cost: Cost) -> float:
    return cost.cpu_seconds


def _difference_of_curves(costs: Costs) -> Figure:
    """NaN would be a figure: other epochs mean other work, and then the ratios say nothing."""
    name = "largest relative difference of a validation loss, Normlab to bare"
    both = pairs_of_successes(costs[BARE], costs[NORMLAB])
    if not both:
        return Figure(name, None)
    floor, ours = both[-1]
    if {key: len(curve) for key, curve in floor.curves.items()} != {
        key: len(curve) for key, curve in ours.curves.items()
    }:
        return Figure(name, None, note="the two did not train the same number of epochs")
    pairs = [pair for key in floor.curves for pair in zip(floor.curves[key], ours.curves[key])]  # noqa: B905
    return Figure(name, max((abs(one / other - 1) for one, other in pairs), default=math.nan))


def _describe(cost: Cost | Failure) -> dict[str, Any]:
    return {name: value for name, value in asdict(cost).items() if name != "curves"}


def _write_inputs(folder: Path, size: Size) -> None:
    """In a process of its own: this one must not load torch, or its memory would be shared with the contestants'."""
    options = ["--seeds", str(size.seeds), "--epochs", str(size.epochs)]
    command = [sys.executable, "-m", "bench.sweep.inputs", str(folder), *options]
    subprocess.run(command, check=True)
