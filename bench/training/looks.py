"""What diagnostics cost a training. Times the trainer as it is, and nothing around it."""

from functools import partial
from pathlib import Path

from bench.harness.turns import median_ratio, take_turns
from bench.training.steps import advance, start_training

STEPS_A_ROUND = 108
PERIODS_WARM = 2


def measure_looks(folder: Path, *, rounds: int) -> float:
    """The median over the rounds of step time with `diagnostics: epoch` to that without; a round is six
    epochs of the CNN on digits, all looks and evaluations included."""
    kinds = {"off": {"kind": "off"}, "epoch": {"kind": "epoch"}}
    epochs = PERIODS_WARM + 6 * rounds + 1
    trainings = {
        kind: start_training(
            folder / f"diagnostics-{kind}",
            folder,
            diagnostics=diagnostics,
            training={"epochs": epochs, "checkpoint_seconds": 3600.0},
        )
        for kind, diagnostics in kinds.items()
    }
    for training in trainings.values():
        advance(training, 18 * PERIODS_WARM)
    turns = take_turns(
        {kind: partial(advance, training, STEPS_A_ROUND) for kind, training in trainings.items()},
        rounds,
    )
    for training in trainings.values():
        training.close()
    return median_ratio(turns["epoch"], turns["off"])
