"""Learning curves show what the rows hold: means with their intervals, whatever a job has come to."""

import subprocess
import sys
from typing import Any

import pytest
from matplotlib.figure import Figure

from studies.figures.learning_curves import Arm, SeedCurve, _measures, draw_job, draw_study
from studies.figures.mpl import png
from studies.figures.palette import styles
from studies.report.curves import mean_curve
from studies.stats.inference import t_interval

PNG = b"\x89PNG\r\n"


def epoch(number: int, loss: float | None = 1.0, accuracy: float | None = 0.5) -> dict[str, Any]:
    return {
        "epoch": number,
        "train_loss": loss,
        "val_loss": loss,
        "train_accuracy": accuracy,
        "val_accuracy": accuracy,
    }


def draw(*arms: Arm, title: str = "norms") -> Figure:
    return draw_study(title, arms, styles([arm.variant for arm in arms], arms[0].variant))


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
    assert png(draw_job("group | seed 1", epochs, best_epoch=1)).startswith(PNG)
    lost = SeedCurve(epochs, left_out="diverged")
    figure = draw(Arm("group", "", [SeedCurve(epochs)]), Arm("batch", "", [lost]))
    assert png(figure).startswith(PNG)


def test_a_study_of_many_arms_is_drawn() -> None:
    curve = SeedCurve([epoch(1), epoch(2)])
    arms = [Arm(f"arm {index}", f"size={index}", [curve]) for index in range(30)]
    figure = draw(*arms)
    assert png(figure).startswith(PNG)
    assert len(figure.axes) == 6 * 2
    assert "first 6 of 30" in figure.texts[-1].get_text()


def test_the_thick_line_is_the_mean_and_the_band_its_interval() -> None:
    seeds = [SeedCurve([epoch(1, loss=loss), epoch(2, loss=loss / 2)]) for loss in (1.0, 2.0, 4.5)]
    lost = SeedCurve([epoch(1, loss=9.0)], left_out="diverged")
    figure = draw(Arm("group", "", [*seeds, lost]))
    axis = figure.axes[0]
    thin, thick = axis.lines[:4], axis.lines[4]
    assert [list(line.get_ydata()) for line in thin[:3]] == [[1, 0.5], [2, 1], [4.5, 2.25]]
    assert list(thick.get_ydata()) == pytest.approx([2.5, 1.25])
    [band] = axis.collections
    corners = band.get_paths()[0].vertices
    low, high = t_interval([1.0, 2.0, 4.5]) or (0, 0)
    at_first = sorted({round(float(y), 9) for x, y in corners if x == 1})
    assert at_first == pytest.approx([low, high])
    legend = figure.axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["group (n=3, 1 diverged)"]


def test_a_row_of_panels_for_each_point_of_the_matrix() -> None:
    curve = SeedCurve([epoch(1), epoch(2)])
    figure = draw(*(Arm(v, f"size={n}", [curve]) for v in ("none", "group") for n in (64, 8)))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["size=64", "size=64", "size=8", "size=8"]
    assert all(len(axis.lines) == 4 for axis in figure.axes)


def test_a_seed_that_stopped_early_keeps_its_last_value_in_the_mean() -> None:
    band = mean_curve([[(1, 1.0), (2, 2.0)], [(1, 3.0), (2, 4.0), (3, 8.0)]])
    assert [(epoch, mean) for epoch, mean, _ in band] == [(1, 2.0), (2, 3.0), (3, 5.0)]
    assert band[0][2] == t_interval([1.0, 3.0])


def test_a_seed_without_any_finite_value_does_not_stop_the_mean() -> None:
    assert mean_curve([[], [(1, 1.0)]]) == [(1, 1.0, None)]


def test_equal_rows_give_equal_bytes() -> None:
    rows = [epoch(1), epoch(2)]
    assert png(draw_job("a", rows)) == png(draw_job("a", rows))


def test_figures_load_neither_torch_nor_mlflow_nor_pyplot() -> None:
    code = (
        "import sys, studies.figures.render;"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'mlflow', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_task_without_accuracy_has_one_panel() -> None:
    losses = [epoch(number, accuracy=None) for number in (1, 2)]
    assert _measures([losses]) == ("loss",)
    assert _measures([losses, [epoch(1)]]) == ("loss", "accuracy")
    assert _measures([[]]) == ("loss", "accuracy")
    assert len(draw_job("low | seed 1", losses).axes) == 1
    assert len(draw(Arm("low", "", [SeedCurve(losses)])).axes) == 1


def test_the_baseline_is_neutral_and_others_differ_in_colour_or_dash() -> None:
    found = styles([f"v{number}" for number in range(20)], "v3")
    assert found["v3"].color == "#4d4d4d"
    looks = {(one.color, one.dash) for one in found.values()}
    assert len(looks) == 20
    assert list(found) == [f"v{number}" for number in range(20)]
