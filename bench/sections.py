"""The sections of the benchmark, in the order in which they run. Each imports what it measures by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bench.harness.figures import Figure, Section

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
    from bench.start import measure_imports

    return measure_imports(rounds=effort.rounds)


def steps(folder: Path, effort: Effort) -> Section:
    """A training step of cnn (width 32, batch 64) on digits under each norm, one thread."""
    from bench.steps import measure_steps

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
    from bench.sweep.lightning import measure_lightning

    return measure_lightning(folder, rounds=effort.rounds)


def layers(folder: Path, effort: Effort) -> Section:
    """Local response norm on 32×64×16×16, forward and backward, one thread."""
    from bench.layers import measure_lrn

    lrn = measure_lrn(rounds=_many(effort))
    figures = [
        Figure("ours", lrn.ours_milliseconds, "ms"),
        Figure("torch's own", lrn.stock_milliseconds, "ms"),
        Figure("torch's ÷ ours", lrn.ratio),
    ]
    return Section("Local response norm on 32×64×16×16", figures)


def looks(folder: Path, effort: Effort) -> Section:
    """A training with diagnostics every epoch beside one without."""
    from bench.looks import measure_looks

    ratio = measure_looks(folder, rounds=_many(effort))
    return Section("Diagnostics", [Figure("step with diagnostics every epoch ÷ without", ratio)])


def path(folder: Path, effort: Effort) -> Section:
    """What the way through the service costs a job: acquired from SQL, leased, recorded."""
    from bench.path import measure_path

    return measure_path(folder, rounds=effort.rounds)


def start(folder: Path, effort: Effort) -> Section:
    """The start of a stack, its memory and CPU at rest, one job alone."""
    from bench.start import measure_start

    return measure_start(folder, rounds=effort.rounds)


def sweep(folder: Path, effort: Effort) -> Section:
    """The sweep of 12 trainings beside the bare loop, Celery, multiprocessing with MLflow, and Ray Tune."""
    from bench.sweep.section import CONTESTANTS, FEW, measure_sweep

    names = FEW if effort.quick else tuple(CONTESTANTS)
    return measure_sweep(folder, rounds=effort.rounds, names=names)


SECTIONS: Mapping[str, Run] = {
    run.__name__: run for run in (imports, steps, lightning, layers, looks, path, start, sweep)
}
#: Those that three minutes are enough for.
QUICK = ("imports", "steps", "path", "sweep")


def _many(effort: Effort) -> int:
    """Rounds of what takes milliseconds."""
    return 10 if effort.quick else 6 * effort.rounds
