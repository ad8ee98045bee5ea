"""Each statistic of a job against numbers worked out by hand."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from store.results.series import LayerSnapshot
from studies.claims.measure import Peers, measure
from studies.comparison.evidence import JobRecord
from studies.spec.claims import Statistic
from tests.support.result_rows import FACTS, make_row

ADAPTER: TypeAdapter[Any] = TypeAdapter(Statistic)


def period(step: int, **columns: float | None) -> dict[str, Any]:
    empty = dict.fromkeys(("train_loss", "train_accuracy", "val_loss", "val_accuracy"), 1.0)
    return {"epoch": step // 10, "step": step, **empty, **columns}


def record(curve: Any = (), snapshots: Any = (), **change: Any) -> JobRecord:
    return JobRecord(make_row(1, "none", 0, 0.9, **change), curve, snapshots)


def number(statistic: Any, job: JobRecord, peers: Peers | None = None) -> float | None:
    return measure(ADAPTER.validate_python(statistic), job, peers or {})


RISING = [period(10, val_accuracy=0.5), period(20, val_accuracy=0.8), period(30, val_accuracy=0.7)]
#: It is planned for 100 steps, and evaluated every 10.
BROKEN = [period(10, val_accuracy=0.5, val_loss=2.0), period(20, val_accuracy=None, val_loss=None, train_loss=None)]  # fmt: skip
DIVERGED = {"reason": "diverged", "metrics": {"test_accuracy": None}}


def test_a_metric_and_its_error() -> None:
    assert number("test_accuracy", record()) == 0.9
    assert number("test_error", record()) == pytest.approx(0.1)
    assert number("epochs", record()) == 10.0
    assert number("no_such", record()) is None


def test_a_diverged_job_counts_with_chance_and_a_failed_one_not() -> None:
    assert number("test_accuracy", record(**DIVERGED)) == FACTS["chance_accuracy"]
    assert number("test_error", record(**DIVERGED)) == pytest.approx(0.9)
    assert number("test_accuracy", record(status="failed")) is None


def test_divergence_is_one_or_nothing() -> None:
    assert number({"kind": "diverged"}, record()) == 0.0
    assert number({"kind": "diverged"}, record(**DIVERGED)) == 1.0
    assert number({"kind": "diverged"}, record(status="queued")) is None


@pytest.mark.parametrize(
    ("take", "more", "expected"),
    [
        ("last", {}, 0.7),
        ("best", {}, 0.8),
        ("mean", {}, 2 / 3),
        ("at_step", {"step": 25}, 0.8),
        ("at_step", {"step": 20}, 0.8),
        ("at_step", {"step": 9}, None),
    ],
)
def test_a_number_of_a_curve(take: str, more: dict[str, int], expected: float | None) -> None:
    statistic = {"kind": "curve", "column": "val_accuracy", "take": take, **more}
    assert number(statistic, record(RISING)) == (
        None if expected is None else pytest.approx(expected)
    )


def test_the_best_loss_is_the_lowest() -> None:
    curve = [period(10, val_loss=2.0), period(20, val_loss=0.5), period(30, val_loss=0.9)]
    best = {"kind": "curve", "column": "val_loss", "take": "best"}
    assert number(best, record(curve)) == 0.5


@pytest.mark.parametrize(
    ("take", "more", "expected"),
    [
        ("last", {}, 0.1),
        ("best", {}, 0.5),
        ("mean", {}, (0.5 + 9 * 0.1) / 10),
        ("at_step", {"step": 10}, 0.5),
        ("at_step", {"step": 20}, 0.1),
    ],
)
def test_the_curve_of_a_diverged_job_goes_on_at_chance(
    take: str, more: dict[str, int], expected: float
) -> None:
    statistic = {"kind": "curve", "column": "val_accuracy", "take": take, **more}
    assert number(statistic, record(BROKEN, **DIVERGED)) == pytest.approx(expected)


def test_steps_to_reach_a_value_or_the_best_of_another_arm() -> None:
    def reach(**target: Any) -> dict[str, Any]:
        return {"kind": "steps_to_reach", **target}

    assert number(reach(value=0.75), record(RISING)) == 20.0
    assert number(reach(value=0.5), record(RISING)) == 10.0
    assert number(reach(value=2.0, column="val_loss"), record(RISING)) == 10.0
    # Never there: the planned steps and one period more.
    assert number(reach(value=0.95), record(RISING)) == 110.0
    other = record([period(10, val_accuracy=0.6), period(20, val_accuracy=0.4)])
    assert number(reach(best_of="batch"), record(RISING), {"batch": other}) == 20.0
    assert number(reach(best_of="batch"), record(RISING), {}) is None


def look(step: int, layer: str, **statistics: float | None) -> LayerSnapshot:
    return LayerSnapshot(layer, step, statistics)


LOOKS = [
    look(1, "first", after_p15=-1.0, after_p50=0.0, after_p85=1.0),
    look(1, "second", after_p15=-2.0, after_p50=1.0, after_p85=2.0),
    look(1, "network", gradient_norm=3.0),
    look(5, "first", after_p15=-2.0, after_p50=0.5, after_p85=2.0),
    look(5, "second", after_p15=-4.0, after_p50=3.0, after_p85=4.0),
    look(5, "network", gradient_norm=6.0),
    look(9, "first", after_p15=-1.0, after_p50=0.0, after_p85=1.0),
    look(9, "second", after_p15=-1.0, after_p50=2.0, after_p85=1.0),
    look(9, "network", gradient_norm=1.5),
]


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ({"kind": "look", "statistic": "gradient_norm", "layer": "network"}, 1.5),
        ({"kind": "look", "statistic": "gradient_norm", "layer": "network", "take": "first"}, 3.0),
        ({"kind": "look", "statistic": "gradient_norm", "layer": "network", "take": "mean"}, 3.5),
        ({"kind": "look", "statistic": "gradient_norm", "layer": "network", "take": "spread_ratio"}, 4.0),
        ({"kind": "look", "statistic": "gradient_norm", "layer": "network", "take": "total_variation"}, 7.5),
        ({"kind": "look", "statistic": "gradient_norm", "layer": "network", "take": "max", "from_step": 6}, 1.5),
        ({"kind": "look", "statistic": "after_p50"}, 2.0),
        ({"kind": "look", "statistic": "after_p50", "layer": "first"}, 0.0),
        ({"kind": "look", "statistic": "after_p50", "layer": "second", "take": "min"}, 1.0),
        ({"kind": "look", "statistic": "no_such"}, None),
        ({"kind": "spread"}, 4.0),
        ({"kind": "spread", "from_step": 6}, 1.0),
        ({"kind": "spread", "layer": "first", "take": "total_variation"}, 1.0),
        ({"kind": "spread", "side": "before"}, None),
    ],
)  # fmt: skip
def test_what_was_seen_inside(statistic: dict[str, Any], expected: float | None) -> None:
    assert number(statistic, record(snapshots=LOOKS)) == expected


def test_a_look_that_saw_no_number_leaves_none() -> None:
    looks = [look(1, "network", gradient_norm=3.0), look(2, "network", gradient_norm=None)]
    statistic = {"kind": "look", "statistic": "gradient_norm", "layer": "network"}
    for take in ("last", "mean", "max"):
        assert number({**statistic, "take": take}, record(snapshots=looks)) is None
    # What came before is there all the same.
    assert number({**statistic, "take": "first"}, record(snapshots=looks)) == 3.0


def test_a_gain_is_over_another_variant_at_the_same_point() -> None:
    at = {"training.batch_size": 8}
    job = JobRecord(make_row(1, "group", 0, 0.9, point=at))
    peers = {
        "none · batch_size=8": JobRecord(make_row(2, "none", 0, 0.7, point=at)),
        "none": JobRecord(make_row(3, "none", 0, 0.2)),
    }
    gain = {"kind": "gain", "of": "test_error", "over": "none"}
    assert number(gain, job, peers) == pytest.approx(0.2)
    assert number(gain, job, {}) is None


def test_statistics_combine() -> None:
    job = record(metrics={"a_loss": 3.0, "b_loss": 2.0, "zero_loss": 0.0})
    assert number({"kind": "difference", "of": ["a_loss", "b_loss"]}, job) == 1.0
    assert number({"kind": "ratio", "of": ["a_loss", "b_loss"]}, job) == 1.5
    assert number({"kind": "ratio", "of": ["a_loss", "zero_loss"]}, job) is None
    assert (
        number({"kind": "log10", "of": {"kind": "ratio", "of": ["b_loss", "b_loss"]}}, job) == 0.0
    )
    assert number({"kind": "log10", "of": "zero_loss"}, job) is None
    assert number({"kind": "difference", "of": ["a_loss", "c_loss"]}, job) is None
