"""A training step of the sweep's network by Normlab's trainer, by a plain loop and by Lightning, in turns.

Each turn is a process of its own on one thread and gives the median over its steps of their CPU time, which
nearly doesn't depend on what else runs.
"""

import argparse
import statistics
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.harness.figures import Figure, Section, at_least
from bench.harness.progress import say
from bench.harness.turns import median_ratio, take_turns
from bench.sweep.environments import PEERS, peer_python
from bench.sweep.study import NORMS, Size, job_document

SIZE = Size(seeds=1, epochs=4)
PLAIN, LIGHTNING, NORMLAB = "plain loop", "Lightning", "Normlab"


def measure_lightning(folder: Path, *, rounds: int) -> Section:
    inputs = folder / "inputs"
    _run(
        sys.executable, "-m", "bench.sweep.inputs", inputs, "--seeds", "1", "--epochs", SIZE.epochs
    )
    figures, rows = [], {}
    for norm in NORMS:
        commands = {
            PLAIN: (sys.executable, PEERS / "plain_steps.py", inputs, f"{norm}-0"),
            LIGHTNING: (
                peer_python("lightning"),
                PEERS / "lightning_steps.py",
                inputs,
                f"{norm}-0",
            ),
            NORMLAB: (sys.executable, "-m", "bench.sweep.lightning", norm, inputs),
        }
        turns = take_turns(
            {name: partial(_run_last_line, *command) for name, command in commands.items()},
            rounds,
            lambda number, name, norm=norm: say(f"step with {norm}, round {number + 1}: {name}"),  # type: ignore[misc]
        )
        rows[norm] = turns
        figures += [
            Figure(f"{norm}: Normlab's step", median(turns[NORMLAB]), "CPU ms"),
            Figure(f"{norm}: plain loop's ÷ ours", median_ratio(turns[PLAIN], turns[NORMLAB]), goal=at_least(0.97)),
            Figure(f"{norm}: Lightning's ÷ ours", median_ratio(turns[LIGHTNING], turns[NORMLAB]), goal=at_least(1.3)),
        ]  # fmt: skip
    return Section("The sweep's training step beside Lightning's", figures, rows)


def _run_last_line(*command: str | Path | int) -> float:
    return float(_run(*command).strip().splitlines()[-1])


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

    parser = argparse.ArgumentParser(prog="python -m bench.sweep.lightning")
    parser.add_argument("norm", choices=tuple(NORMS))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = JobSpec.model_validate(job_document(options.norm, 0, SIZE))
    data = load(spec.dataset, BUILT_IN["digits"], options.folder / "datasets")
    place = options.folder / "jobs" / f"{options.norm}-{time.time_ns()}" / "attempt-1"
    times = [
        time.process_time() for event in train(spec, data, place) if isinstance(event, Stepped)
    ]
    print(1000 * statistics.median(after - before for before, after in pairwise(times)))


if __name__ == "__main__":
    main()
