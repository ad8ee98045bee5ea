"""The learning curves are PNGs, whatever the rows hold."""

import subprocess
import sys
from typing import Any

import pytest

from studies.figures import SeedCurve, _mean_and_deviation, _measures, draw_job, draw_study

PNG = b"\x89PNG\r\n"


def epoch(number: int, loss: float | None = 1.0, accuracy: float | None = 0.5) -> dict[str, Any]:
    return {
        "epoch": number,
        "train_loss": loss,
        "val_loss": loss,
        "train_accuracy": accuracy,
        "val_accuracy": accuracy,
    }


@pytest.mark.parametrize(
    "epochs",
    [
        [],
        [epoch(1)],
        [epoch(number, loss=2 / number) for number in range(1, 60)],
        [epoch(1), epoch(2, loss=None, accuracy=None)],
        [epoch(1, loss=None, accuracy=None)],
        [epoch(number, loss=10.0 ** (30 * number)) for number in range(1, 9)],
        [epoch(1, loss=-1.0), epoch(2, loss=1e9)],
    ],
    ids=["none", "one", "many", "diverged", "never finite", "huge", "negative"],
)
def test_a_job_is_drawn_whatever_its_rows_hold(epochs: list[dict[str, Any]]) -> None:
    assert draw_job("group | seed 1", epochs, best_epoch=1).startswith(PNG)
    arms = {"group": [SeedCurve(epochs)], "batch": [SeedCurve(epochs, left_out="diverged")]}
    assert draw_study("norms", arms).startswith(PNG)


def test_a_study_of_many_arms_is_drawn() -> None:
    arms = {f"arm {index}": [SeedCurve([epoch(1), epoch(2)])] for index in range(30)}
    assert draw_study("norms", arms).startswith(PNG)


def test_a_seed_that_stopped_early_keeps_its_last_value_in_the_mean() -> None:
    band = _mean_and_deviation([[(1, 1.0), (2, 2.0)], [(1, 3.0), (2, 4.0), (3, 8.0)]])
    assert [(epoch, mean) for epoch, mean, _ in band] == [(1, 2.0), (2, 3.0), (3, 5.0)]
    assert band[0][2] == pytest.approx(2**0.5)


def test_a_seed_without_any_finite_value_does_not_stop_the_mean() -> None:
    assert _mean_and_deviation([[], [(1, 1.0)]]) == [(1, 1.0, 0.0)]


def test_equal_rows_give_equal_bytes() -> None:
    rows = [epoch(1), epoch(2)]
    assert draw_job("a", rows) == draw_job("a", rows)


def test_figures_load_neither_torch_nor_mlflow_nor_pyplot() -> None:
    code = (
        "import sys, studies.figures;"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'mlflow', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_task_without_accuracy_has_one_panel() -> None:
    losses = [epoch(number, accuracy=None) for number in (1, 2)]
    assert _measures([losses]) == ("loss",)
    assert _measures([losses, [epoch(1)]]) == ("loss", "accuracy")
    assert _measures([[]]) == ("loss", "accuracy")
    assert draw_job("low | seed 1", losses).startswith(PNG)
    assert draw_study("fits", {"low": [SeedCurve(losses)]}).startswith(PNG)
