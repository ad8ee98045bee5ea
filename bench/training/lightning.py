"""A training step of the sweep's network by Normlab's trainer, by a plain loop and by Lightning, in turns.

Each turn is a process of its own on one thread and gives the median over its steps of their CPU time, which
nearly doesn't depend on what else runs.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.harness.figures import Figure, Section, at_least
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
from bench.sweep.environments import PEERS, peer_python
from bench.sweep.study import NORMS, OTHER_MODELS, Size, job_document

SIZE = Size(seeds=1, epochs=4)
#: Of one process.
MOST_SECONDS = 120.0
#: What is trained, and the job of `bench.sweep.inputs` that is.
KEYS = {
    **{f"cnn, {norm}": f"{norm}-0" for norm in NORMS},
    **{f"{model}, batch": model for model in OTHER_MODELS},
}
PLAIN, LIGHTNING, NORMLAB = "plain loop", "Lightning", "Normlab"


def measure_lightning(folder: Path, *, rounds: int) -> Section:
    inputs = folder / "inputs"
    options = ("--seeds", 1, "--epochs", SIZE.epochs, "--other-models")
    _run(sys.executable, "-m", "bench.sweep.inputs", inputs, *options)
    with suppress(subprocess.CalledProcessError):
        peer_python("lightning")
    figures, rows = [], {}
    for name, key in KEYS.items():
        turns = take_turns(
            {
                PLAIN: _contestant(None, PEERS / "plain_steps.py", inputs, key),
                LIGHTNING: _contestant("lightning", PEERS / "lightning_steps.py", inputs, key),
                NORMLAB: _contestant(None, "-m", "bench.training.lightning", inputs, key),
            },
            rounds,
            lambda number, who, name=name: say(f"{name}, round {number + 1} of {rounds}: {who}"),  # type: ignore[misc]
        )
        rows[name] = {
            who: [asdict(one) if isinstance(one, Failure) else one for one in own]
            for who, own in turns.items()
        }
        figures += _figures_of(name, turns)
    return Section("A training step beside Lightning's", figures, rows)


def _contestant(peer: str | None, *arguments: str | Path) -> Callable[[], float | Failure]:
    """The median CPU milliseconds of a step, which is the last that the process prints. `peer`: whose environment
    it runs in; our own without one."""

    def measure() -> float:
        python = sys.executable if peer is None else peer_python(peer)
        return float(_run(python, *arguments).strip().splitlines()[-1])

    return tolerate(measure, MOST_SECONDS)


def _figures_of(name: str, turns: Mapping[str, Sequence[float | Failure]]) -> Iterator[Figure]:
    ours = successes(turns[NORMLAB])
    own = median(ours) if ours else None
    note = describe_failures(turns[NORMLAB])
    yield Figure(f"{name}: Normlab's step", own, "CPU ms", note=note)
    for other, goal in ((PLAIN, at_least(0.97)), (LIGHTNING, at_least(1.3))):
        pairs = pairs_of_successes(turns[other], turns[NORMLAB])
        ratio = median_ratio(*zip(*pairs, strict=True)) if pairs else None
        note = describe_failures(turns[other])
        yield Figure(f"{name}: {other}'s ÷ ours", ratio, goal=goal, note=note)


def _run(*command: str | Path | int) -> str:
    parts = [str(part) for part in command]
    return subprocess.run(parts, check=True, text=True, stdout=subprocess.PIPE).stdout


def main() -> None:
    """Prints the CPU milliseconds of Normlab's step."""
    import torch

    from trainer.data.loading import load
    from trainer.events import Stepped
    from trainer.spec.builtin import BUILT_IN
    from trainer.spec.job import JobSpec
    from trainer.training.loop import train

    parser = argparse.ArgumentParser(prog="python -m bench.training.lightning")
    parser.add_argument("folder", type=Path)
    parser.add_argument("key", choices=tuple(KEYS.values()))
    options = parser.parse_args()
    torch.set_num_threads(1)
    norm, model = options.key.removesuffix("-0"), OTHER_MODELS.get(options.key)
    document = (
        job_document(norm, 0, SIZE) if model is None else job_document("batch", 0, SIZE, model)
    )
    spec = JobSpec.model_validate(document)
    data = load(spec.dataset, BUILT_IN["digits"], options.folder / "datasets")
    place = options.folder / "jobs" / f"{options.key}-{time.time_ns()}" / "attempt-1"
    times = [
        time.process_time() for event in train(spec, data, place) if isinstance(event, Stepped)
    ]
    print(1000 * statistics.median(after - before for before, after in pairwise(times)))


if __name__ == "__main__":
    main()
