"""A study's own figure: what is refused, the numbers of each panel by hand, and that each can be drawn."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from store.results.series import LayerSnapshot
from studies.comparison.evidence import JobRecord, StudyEvidence, gather_evidence
from studies.figures.mpl import png
from studies.figures.palette import styles
from studies.figures.panels import draw_panels
from studies.report.panels.build import read_panels
from studies.report.panels.schemas import Bars, Fans, Lines, Nothing, Planes, Steps, Tiles
from studies.spec.expand import expand
from studies.spec.study import StudyError, StudySpec
from studies.stats.inference import t_interval
from tests.support.result_rows import BASE, fake_rows, make_study

MATRIX = {"matrix": {"training.batch_size": [64, 8]}}
MEANS = {"none": 0.8, "group": 0.9}


def curve(job: int) -> list[dict[str, Any]]:
    """Two periods whose numbers depend on the job."""
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train_loss": 1.0,
            "train_accuracy": 0.5,
            "val_loss": 1.0,
            "val_accuracy": 0.1 * epoch + 0.001 * job,
        }
        for epoch in (1, 2)
    ]


def snapshots(job: int) -> list[LayerSnapshot]:
    return [
        LayerSnapshot(
            layer, step, {**percentiles(step), "gradient_norm": step * (number + 1) + job / 100}
        )
        for step in (1, 5)
        for number, layer in enumerate(("linear1", "linear2"))
    ]


def percentiles(step: int) -> dict[str, float | None]:
    return {
        f"{side}_p{percent}": percent / 100 * step
        for side in ("before", "after")
        for percent in (1, 15, 50, 85, 99)
    }


def evidence(study: StudySpec) -> StudyEvidence:
    # What couldn't be is refused before; here jobs have whatever a test needs.
    bare = study.model_copy(update={"figure": ()})
    rows = fake_rows(bare, lambda variant, _: MEANS[variant], seed=3)
    return gather_evidence(
        study,
        rows,
        planned_seeds=study.seed_list,
        curves={row.job_id: curve(row.job_id) for row in rows},
        snapshots={row.job_id: snapshots(row.job_id) for row in rows},
    )


def panels(
    *figure: dict[str, Any], storage: Path = Path(), files: Any = None, **fields: Any
) -> Any:
    study = make_study(("none", "group"), figure=list(figure), seeds=4, **fields)
    return read_panels(evidence(study), files or {}, storage)


def values(study: StudySpec, arm: str, metric: str = "test_accuracy") -> list[float]:
    known = evidence(study).records[arm]
    return [one.row.metrics[metric] for _, one in sorted(known.items())]


def axes_of(figure: Figure) -> list[Any]:
    return [axis for part in figure.subfigs for axis in part.axes if axis.get_visible()]


def drawn(found: Sequence[Any]) -> Figure:
    figure = draw_panels(found, styles(("none", "group"), "none"))
    content = png(figure)
    assert content.startswith(b"\x89PNG")
    assert len(content) > 5000
    return figure


def test_curves_are_means_with_intervals_over_steps() -> None:
    (found,) = panels({"panel": "curves", "column": "val_accuracy"})
    assert isinstance(found, Lines)
    line = next(one for one in found.lines if one.arm == "group")
    # Jobs are numbered variant by variant: 5 to 8 are those of group.
    expected = [0.2 + 0.001 * job for job in (5, 6, 7, 8)]
    assert line.x == (10.0, 20.0)
    assert line.mean[1] == pytest.approx(np.mean(expected))
    assert (line.low[1], line.high[1]) == pytest.approx(t_interval(expected))
    assert found.unit == "points"
    axis = axes_of(drawn([found]))[0]
    assert [one.get_label() for one in axis.get_lines()] == ["none", "group"]
    assert axis.get_xlabel() == "step"
    assert axis.get_ylabel() == "val accuracy, %"


def test_errors_are_one_minus_accuracies() -> None:
    (found,) = panels({"panel": "curves", "column": "val_accuracy", "as_error": True})
    assert found.lines[0].mean[0] == pytest.approx(
        1 - np.mean([0.1 + 0.001 * n for n in (1, 2, 3, 4)])
    )
    assert found.y_label == "val error"


def test_marks_stand_where_the_best_of_an_arm_is_reached() -> None:
    (found,) = panels({"panel": "curves", "column": "val_accuracy", "reach": "none"})
    assert found.level == pytest.approx(np.mean([0.2 + 0.001 * n for n in (1, 2, 3, 4)]))
    assert {one.arm: one.x for one in found.marks} == {"none": 20.0, "group": 20.0}
    drawn([found])


def test_on_an_axis_of_errors_the_level_is_an_error() -> None:
    (found,) = panels(
        {"panel": "curves", "column": "val_accuracy", "as_error": True, "reach": "none"}
    )
    assert found.level == pytest.approx(1 - np.mean([0.2 + 0.001 * n for n in (1, 2, 3, 4)]))


def test_rules_are_marked_where_they_would_have_stopped_on_average() -> None:
    study = make_study(figure=[{"panel": "curves", "column": "val_loss", "stops": True}], seeds=4)
    found = with_curves(study, lambda job: [(10, 0.5), (20, 0.7), (30, 0.9)])

    def stopped(job: JobRecord) -> JobRecord:
        # Jobs 1 and 2 are of the first arm; no rule says anything of the others.
        epochs = {1: 2.0, 2: 3.0}
        known = {"stop_epoch_patience": epochs.get(job.row.job_id)}
        return replace(job, row=replace(job.row, metrics={**job.row.metrics, **known}))

    records = {
        arm: {seed: stopped(job) for seed, job in jobs.items()}
        for arm, jobs in found.records.items()
    }
    (lines,) = read_panels(replace(found, records=records), {}, Path())
    assert isinstance(lines, Lines)
    (mark,) = lines.marks
    assert (mark.arm, mark.rule, mark.x) == ("none", "patience", 25.0)
    assert mark.y == pytest.approx(0.8)
    axis = axes_of(drawn([lines]))[0]
    assert axis.get_legend().get_texts()[-1].get_text() == "patience"


def test_the_best_of_a_loss_is_its_lowest() -> None:
    study = make_study(figure=[{"panel": "curves", "column": "val_loss", "reach": "none"}], seeds=4)
    (found,) = read_panels(with_curves(study, lambda job: [(10, 0.5), (20, 0.7)]), {}, Path())
    assert isinstance(found, Lines)
    assert found.level == pytest.approx(0.5)
    assert {one.arm: one.x for one in found.marks} == {"none": 10.0, "group": 10.0}


def with_curves(
    study: StudySpec, points: Any, reason: Any = lambda job: "completed"
) -> StudyEvidence:
    """Each job with its own losses and accuracies, equal to one another, over steps."""
    plain = evidence(study)

    def changed(job: JobRecord) -> JobRecord:
        number = job.row.job_id
        facts = {**(job.row.facts or {}), "total_steps": 20, "chance_accuracy": 0.1}
        row = replace(job.row, reason=reason(number), facts=facts)
        curve = [
            {"step": step, "train_loss": y, "val_loss": y, "val_accuracy": y}
            for step, y in points(number)
        ]
        return replace(job, row=row, curve=curve)

    records = {
        arm: {seed: changed(job) for seed, job in jobs.items()}
        for arm, jobs in plain.records.items()
    }
    return replace(plain, records=records)


def test_no_mean_is_of_the_survivors() -> None:
    """Job 1 stops early, job 2 diverges: both count to the end."""
    study = make_study(
        figure=[{"panel": "curves", "column": "val_accuracy", "reach": "none"}], seeds=4
    )
    ends = {1: [(10, 0.6)], 2: [(10, 0.3), (20, None)]}
    found = with_curves(
        study,
        lambda job: ends.get(job, [(10, 0.5), (20, 0.5 if job > 4 else 0.9)]),
        lambda job: "diverged" if job == 2 else "completed",
    )
    (lines,) = read_panels(found, {}, Path())
    assert isinstance(lines, Lines)
    none = next(one for one in lines.lines if one.arm == "none")
    assert none.mean == pytest.approx(
        (np.mean([0.6, 0.3, 0.5, 0.5]), np.mean([0.6, 0.1, 0.9, 0.9]))
    )
    # At seeds whose own best is 0.9 the other arm never gets there: it has no mark.
    assert [one.arm for one in lines.marks] == ["none"]


def test_a_statistic_over_the_matrix_has_a_line_per_variant() -> None:
    panel = {
        "panel": "over",
        "path": "training.batch_size",
        "statistics": ["test_error"],
        "scale": "log",
    }
    (found,) = panels(panel, **MATRIX)
    study = make_study(("none", "group"), seeds=4, figure=[panel], **MATRIX)
    expected = [1 - one for one in values(study, "group · batch_size=8")]
    line = next(one for one in found.lines if one.arm == "group")
    assert line.x == (8.0, 64.0)
    assert line.mean[0] == pytest.approx(np.mean(expected))
    axis = axes_of(drawn([found]))[0]
    assert axis.get_xscale() == "log"
    assert [one.get_text() for one in axis.get_xticklabels()] == ["8", "64"]


def test_variants_may_be_given_places_on_an_axis() -> None:
    (found,) = panels(
        {
            "panel": "over",
            "along": {"group": 8, "none": 1},
            "statistics": ["test_error", "test_accuracy"],
        }
    )
    assert [one.label for one in found.lines] == ["test error", "test accuracy"]
    assert found.lines[0].x == (1.0, 8.0)
    drawn([found])


def test_bars_stand_for_arms_with_their_intervals() -> None:
    (found,) = panels({"panel": "bars", "statistics": ["test_accuracy", "epochs"]})
    assert isinstance(found, Bars)
    study = make_study(("none", "group"), seeds=4)
    expected = values(study, "group")
    bar = found.sets[0][1]
    assert (bar.arm, bar.mean) == ("group", pytest.approx(np.mean(expected)))
    assert (bar.low, bar.high) == pytest.approx(t_interval(expected))
    axes = axes_of(drawn([found]))
    assert [axis.get_xlabel() for axis in axes] == ["test accuracy, %", "epochs"]
    assert axes[0].patches[1].get_width() == pytest.approx(np.mean(expected))


def test_looks_are_over_steps_and_layers_over_the_depth() -> None:
    of_steps, of_depth = panels(
        {"panel": "looks", "statistic": "gradient_norm", "layer": "first", "arms": ["none"]},
        {"panel": "layers", "statistic": "gradient_norm", "at": "first", "arms": ["none"]},
    )
    jobs = (1, 2, 3, 4)
    (line,) = of_steps.lines
    assert line.x == (1.0, 5.0)
    assert line.mean == pytest.approx([np.mean([s + job / 100 for job in jobs]) for s in (1, 5)])
    (line,) = of_depth.lines
    assert line.x == (1.0, 2.0)
    assert line.mean == pytest.approx([np.mean([n + job / 100 for job in jobs]) for n in (1, 2)])
    assert axes_of(drawn([of_steps, of_depth]))[1].get_yscale() == "log"


def test_fans_are_of_one_job_per_arm() -> None:
    (found,) = panels({"panel": "fans", "layer": "last"})
    assert isinstance(found, Fans)
    assert [(one.variant, one.layer) for one in found.fans] == [
        ("none", "linear2"),
        ("group", "linear2"),
    ]
    assert found.fans[0].after["50"] == (0.5, 2.5)
    titles = [axis.get_title() for axis in axes_of(drawn([found]))]
    assert titles == ["none, linear2", "group, linear2"]


def kept(storage: Path, job: int, name: str, **arrays: Any) -> Any:
    """As the trainer writes it, and as its row in SQL names it."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    path = storage / f"{job}-{name}"
    path.write_bytes(content.getvalue())
    digest = hashlib.blake2b(content.getvalue(), digest_size=16).hexdigest()
    return SimpleNamespace(name=name, path=path.name, digest=digest, bytes=path.stat().st_size)


ARRAYS: dict[str, dict[str, Any]] = {
    "filters": {"layer": np.array("linear1"), "filters": np.ones((30, 1, 4, 4)), "total": np.array(30)},
    "weights": {
        "layers": np.array(["a", "b"]), "edges": np.tile(np.linspace(-1, 1, 101), (2, 1)),
        "counts": np.ones((2, 100)), "minimum": np.zeros(2), "maximum": np.ones(2),
    },
    "activations": {"edges": np.linspace(0, 1, 51), "counts": np.arange(50)},
    "responses": {
        "images": np.zeros((4, 1, 8, 8)), "before": np.ones((4, 3, 8, 8)), "after": np.ones((4, 3, 8, 8)) / 2,
    },
    "augmented": {"original": np.zeros((8, 1, 8, 8)), "augmented": np.ones((8, 1, 8, 8))},
    "mc_curve": {"k": np.arange(1, 51), "error": np.linspace(0.2, 0.1, 50)},
}  # fmt: skip


@pytest.mark.parametrize("output", ARRAYS)
def test_what_evaluations_kept_is_shown(output: str, tmp_path: Path) -> None:
    files = {
        job: [kept(tmp_path, job, f"test_{output}.npz", **ARRAYS[output])] for job in (1, 2, 5)
    }
    (found,) = panels({"panel": output}, storage=tmp_path, files=files)
    match found:
        case Tiles(rows=rows):
            labels = [one.label.split(",")[0] for one in rows]
            assert set(labels) == (
                {"none", "group", "plain"} if output == "augmented" else {"none", "group"}
            )
        case Steps(arms=arms, counts=counts):
            assert arms == ("none", "group")
            assert (
                counts[0].array().sum()
                == ARRAYS[output]["counts"].reshape(-1, counts[0].shape[0])[0].sum()
            )
        case Lines(lines=lines):
            assert lines[0].x[-1] == 50.0
            assert lines[0].mean[0] == pytest.approx(0.2)
        case other:
            raise AssertionError(other)
    drawn([found])


@pytest.mark.parametrize(("features", "predictions"), [(1, (200,)), (2, (10000, 2))])
def test_a_grid_is_a_fit_or_a_boundary(
    features: int, predictions: tuple[int, ...], tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    axes = np.meshgrid(
        *[np.linspace(0, 1, 200 if features == 1 else 100)] * features, indexing="ij"
    )
    arrays = {
        "x": np.stack(axes, -1).reshape(-1, features),
        "predictions": draw.random(predictions),
        "train_x": draw.random((30, features)),
        "train_y": draw.integers(0, 2, 30) if features == 2 else draw.random(30),
    }
    files = {job: [kept(tmp_path, job, "test_grid.npz", **arrays)] for job in (1, 5)}
    (found,) = panels({"panel": "grid"}, storage=tmp_path, files=files)
    assert isinstance(found, Planes)
    assert [one.arm for one in found.planes] == ["none", "group"]
    assert np.allclose(found.planes[0].train_x.array(), arrays["train_x"], atol=1e-6)
    assert [axis.get_title() for axis in axes_of(drawn([found]))] == ["none", "group"]


def test_an_evaluation_may_be_chosen_by_its_name(tmp_path: Path) -> None:
    one, other = ({"edges": np.linspace(0, 1, 3), "counts": np.full(2, n)} for n in (1, 2))
    files = {
        1: [
            kept(tmp_path, 1, "end_activations.npz", **one),
            kept(tmp_path, 1, "test_activations.npz", **other),
        ]
    }
    panel = {"panel": "activations", "evaluation": "test"}
    (found,) = panels(panel, storage=tmp_path, files=files)
    assert found.counts[0].array().tolist() == [2.0, 2.0]


def test_a_damaged_file_is_as_good_as_none_and_says_what_to_do(tmp_path: Path) -> None:
    file = kept(tmp_path, 1, "test_filters.npz", **ARRAYS["filters"])
    (tmp_path / file.path).write_bytes(b"else")
    (found,) = panels({"panel": "filters"}, storage=tmp_path, files={1: [file]})
    assert isinstance(found, Nothing)
    assert "outputs: [filters]" in found.why
    drawn([found])


@pytest.mark.parametrize(
    "panel",
    [
        {"panel": "bars", "statistics": ["no_such"]},
        {"panel": "looks", "statistic": "no_such"},
        {"panel": "layers", "statistic": "no_such"},
        {"panel": "over", "along": {"none": 1}, "statistics": ["no_such"]},
    ],
)
def test_a_panel_without_numbers_says_so(panel: dict[str, Any]) -> None:
    (found,) = panels(panel)
    assert isinstance(found, Nothing)


@pytest.mark.parametrize(
    ("panel", "pointer", "said"),
    [
        ({"panel": "curves", "arms": ["batch"]}, "/figure/0", "there is no arm 'batch'"),
        ({"panel": "curves", "reach": "batch"}, "/figure/0", "there is no arm 'batch'"),
        ({"panel": "over", "along": {"batch": 1}, "statistics": ["test_error"]}, "/figure/0", "no arm 'batch'"),
        ({"panel": "over", "path": "optimizer.lr", "statistics": ["test_error"]}, "/figure/0/path", "isn't in the matrix"),
        ({"panel": "bars", "statistics": ["end_error"]}, "/figure/0", "no job of this study records 'end_error'"),
        ({"panel": "bars", "statistics": [{"kind": "gain", "of": "test_error", "over": "batch"}]}, "/figure/0", "there is no variant 'batch'"),
        ({"panel": "bars", "statistics": [{"kind": "spread"}]}, "/figure/0", "no job records any"),
        ({"panel": "looks", "statistic": "gradient_norm"}, "/figure/0", "no job records any"),
        ({"panel": "fans"}, "/figure/0", "no job records any"),
        ({"panel": "filters"}, "/figure/0", "shows filters, which isn't stored by any evaluation"),
        ({"panel": "weights", "evaluation": "end"}, "/figure/0", "shows weights, which isn't stored by 'end'"),
    ],
)  # fmt: skip
def test_a_panel_of_what_there_is_not_is_refused(
    panel: dict[str, Any], pointer: str, said: str
) -> None:
    kept = {"evaluations": [{"outputs": ["weights"]}]}
    study = make_study(("none", "group"), figure=[panel], base={**BASE, **kept})
    with pytest.raises(StudyError, match=said) as refused:
        expand(study)
    assert refused.value.problems[0].pointer == pointer


@pytest.mark.parametrize(
    "panel",
    [
        {"panel": "pie"},
        {"panel": "over", "statistics": ["test_error"]},
        {"panel": "over", "statistics": ["test_error"], "path": "a", "along": {"none": 1}},
        {"panel": "bars", "statistics": []},
    ],
)
def test_a_panel_that_says_nothing_is_refused(panel: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="figure"):
        make_study(("none", "group"), figure=[panel])
