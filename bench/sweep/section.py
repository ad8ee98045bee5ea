"""The sweep by all contestants in turns: wall time to that of the bare loop, CPU seconds and memory."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from bench.harness.figures import Figure, Goal, Section, at_most
from bench.harness.process_tree import adopt_orphans
from bench.harness.progress import say
from bench.harness.turns import median_ratio, take_turns
from bench.sweep import contestants
from bench.sweep.contestants import Cost
from bench.sweep.study import FULL, Size

Contestant: TypeAlias = Callable[[Path, Path, Size], Cost]

BARE, CELERY, NORMLAB = "bare loop, two cold processes", "hand-written Celery, warm", "Normlab"
CONTESTANTS: Mapping[str, Contestant] = {
    BARE: contestants.run_bare,
    CELERY: contestants.run_celery,
    "multiprocessing + MLflow": contestants.run_multiprocessing,
    "Ray Tune, logging in the trial": contestants.run_ray,
    NORMLAB: contestants.run_normlab,
}
#: Those that the goals need.
FEW = (BARE, CELERY, NORMLAB)

#: 75 CPU seconds on a machine where the bare loop takes 67: others are faster or slower.
MOST_CPU = 1.12
_GIGABYTE = 10**9


def measure_sweep(
    folder: Path, *, rounds: int, names: Sequence[str] = tuple(CONTESTANTS), size: Size = FULL
) -> Section:
    adopt_orphans()
    _write_inputs(folder / "inputs", size)
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
        {name: partial(run, name) for name in names},
        rounds,
        lambda number, name: say(f"sweep, round {number + 1} of {rounds}: {name}"),
    )
    return summarize(costs, size)


def summarize(costs: Mapping[str, Sequence[Cost]], size: Size) -> Section:
    rows = {name: [_without_curves(cost) for cost in own] for name, own in costs.items()}
    figures = [figure for name in costs for figure in _figures_of(name, costs)]
    if CELERY in costs and NORMLAB in costs:
        ratio = median_ratio(_walls(costs[NORMLAB]), _walls(costs[CELERY]))
        figures.append(Figure("Normlab: wall ÷ warm Celery", ratio, goal=at_most(1.0)))
    if BARE in costs and NORMLAB in costs:
        figures.append(_difference_of_curves(costs[BARE][-1], costs[NORMLAB][-1]))
    return Section(f"Sweep of {size.jobs} trainings, {size.epochs} epochs at most", figures, rows)


def _figures_of(name: str, costs: Mapping[str, Sequence[Cost]]) -> Iterator[Figure]:
    own = costs[name]

    def goal(value: float) -> Goal | None:
        return at_most(value) if name == NORMLAB else None

    yield Figure(f"{name}: wall", median(_walls(own)), "s")
    if BARE in costs:
        ratio = median_ratio(_walls(own), _walls(costs[BARE]))
        yield Figure(f"{name}: wall ÷ bare", ratio, goal=goal(0.85))
    yield Figure(f"{name}: CPU", median(_cpus(own)), "s")
    if BARE in costs:
        ratio = median_ratio(_cpus(own), _cpus(costs[BARE]))
        yield Figure(f"{name}: CPU ÷ bare", ratio, goal=goal(MOST_CPU))
    peak = median(cost.peak_bytes for cost in own) / _GIGABYTE
    yield Figure(f"{name}: peak PSS", peak, "GB", goal(1.5))
    complete = [cost.complete_seconds for cost in own if cost.complete_seconds is not None]
    if complete:
        late = median(complete)
        yield Figure(f"{name}: last job's end to all in MLflow", late, "s", goal(10))


def _walls(costs: Sequence[Cost]) -> list[float]:
    return [cost.wall_seconds for cost in costs]


def _cpus(costs: Sequence[Cost]) -> list[float]:
    return [cost.cpu_seconds for cost in costs]


def _difference_of_curves(floor: Cost, ours: Cost) -> Figure:
    """NaN would be a figure: other epochs mean other work, and then the ratios say nothing."""
    name = "largest relative difference of a validation loss, Normlab to bare"
    if {key: len(curve) for key, curve in floor.curves.items()} != {
        key: len(curve) for key, curve in ours.curves.items()
    }:
        return Figure(name, None, note="the two did not train the same number of epochs")
    pairs = [pair for key in floor.curves for pair in zip(floor.curves[key], ours.curves[key])]  # noqa: B905
    return Figure(name, max((abs(one / other - 1) for one, other in pairs), default=math.nan))


def _without_curves(cost: Cost) -> dict[str, Any]:
    return {name: value for name, value in asdict(cost).items() if name != "curves"}


def _write_inputs(folder: Path, size: Size) -> None:
    """In a process of its own: this one must not load torch, or its memory would be shared with the contestants'."""
    options = ["--seeds", str(size.seeds), "--epochs", str(size.epochs)]
    command = [sys.executable, "-m", "bench.sweep.inputs", str(folder), *options]
    subprocess.run(command, check=True)
