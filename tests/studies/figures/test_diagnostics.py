"""Drift over a training, and the drawing of looks: a PNG whatever the rows hold."""

import subprocess
import sys
from typing import Any

import pytest

from store.results.series import LayerSnapshot
from studies.figures.diagnostics import draw_diagnostics
from studies.stats.metrics import with_drift
from trainer.spec.recorded import PERCENTILES

PNG = b"\x89PNG\r\n"


def test_drift_is_the_way_of_the_median_in_units_of_the_first_deviation() -> None:
    first = {"before_p50": 1.0, "before_std": 2.0, "after_p50": 0.0, "after_std": 1.0}
    now = {"before_p50": -4.0, "before_std": 9.0, "after_p50": 0.5, "after_std": 3.0}
    found = with_drift(now, first)
    assert found == {**now, "before_drift_training": 2.5, "after_drift_training": 0.5}
    assert with_drift(first, first)["before_drift_training"] == 0


@pytest.mark.parametrize(
    ("now", "first"),
    [
        ({"before_p50": None}, {"before_p50": 1.0, "before_std": 1.0}),
        ({"before_p50": 1.0}, {"before_p50": 1.0, "before_std": 0.0}),
        ({"before_p50": 1.0}, {"before_p50": None, "before_std": None}),
        ({"weight_norm": 3.0}, {"weight_norm": 2.0}),
    ],
    ids=str,
)
def test_without_a_finite_beginning_there_is_no_drift(now: Any, first: Any) -> None:
    assert with_drift(now, first) == now


def norm(layer: str, step: int, value: float | None = 1.0) -> LayerSnapshot:
    statistics = {
        f"{side}_p{percent}": None if value is None else value * percent
        for side in ("before", "after")
        for percent in PERCENTILES
    }
    return LayerSnapshot(layer, step, statistics)


def weights(layer: str, step: int, value: float | None = 1.0) -> LayerSnapshot:
    names = ("weight_norm", "weight_sparsity", "gradient_norm", "effective_learning_rate")
    return LayerSnapshot(layer, step, dict.fromkeys(names, value))


@pytest.mark.parametrize(
    "looks",
    [
        [],
        [norm("norm1", 1)],
        [weights("conv1", 1), weights("conv1", 9)],
        [norm(f"norm{n}", step) for n in range(40) for step in (1, 5, 20)],
        [weights(f"conv{n}", step, 0.0) for n in range(40) for step in (1, 5)],
        [
            norm("norm1", 1, None),
            weights("conv1", 1, None),
            LayerSnapshot("network", 1, {"loss_gap": 0.1}),
        ],
    ],
    ids=["none", "one", "weights", "deep", "zero", "not finite"],
)
def test_looks_are_drawn_whatever_they_hold(looks: list[LayerSnapshot]) -> None:
    assert draw_diagnostics("group | seed 1", looks).startswith(PNG)


def test_the_words_of_diagnostics_load_no_drawing() -> None:
    code = "import sys, studies.stats.metrics; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
