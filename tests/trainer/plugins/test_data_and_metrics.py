"""Data and metrics of a package that the settings name."""

import math
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.support.plugin_packages import write_package
from trainer.checks import check
from trainer.data import decode, load
from trainer.errors import DataError
from trainer.evaluation.losses import ClassificationTask
from trainer.evaluation.plugin_metrics import measure
from trainer.events import Finished
from trainer.plugins import PluginError, find_plugin
from trainer.spec import (
    BUILT_IN,
    DatasetInfo,
    FromPlugin,
    JobSpec,
    PluginData,
    content_hash,
    recorded_metrics,
)
from trainer.training import train

DIGITS = BUILT_IN["digits"]


def decoded(folder: Path, entry: str, **options: Any) -> DatasetInfo:
    source = PluginData(kind="plugin", name=f"plugin:{entry}", options=options)
    steps = decode("ours", source, folder, ())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            info: DatasetInfo = end.value
            return info


def make_spec(*metrics: str, **parts: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"name": "digits", "train_size": 200},
            "model": {"name": "mlp", "hidden": [16]},
            "norm": {"kind": "batch"},
            "training": {"epochs": 2},
            "evaluations": [{"metrics": [{"name": f"plugin:{one}"} for one in metrics]}],
            **parts,
        }
    )


def test_images_of_a_package_are_decoded_and_trained(site: Path, tmp_path: Path) -> None:
    write_package(site)
    info = decoded(tmp_path / "data", "stripes", count=200)
    assert (info.shape, info.classes, info.content) == ((1, 8, 8), ("rows", "columns"), "images")
    assert info.record[0].what == "plugin:stripes"
    spec = make_spec(dataset={"name": "ours"}, training={"epochs": 5}, evaluations=[{}])
    *_, end = train(spec, load(spec.dataset, info, tmp_path / "data"), tmp_path / "attempt-1")
    assert isinstance(end, Finished)
    assert end.metrics["test_accuracy"] > 0.7


def test_its_content_decides_its_digest(site: Path, tmp_path: Path) -> None:
    write_package(site)
    digests = [decoded(tmp_path, "stripes", seed=seed).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_features_with_values_are_a_regression(site: Path, tmp_path: Path) -> None:
    write_package(site)
    info = decoded(tmp_path, "waves")
    assert (info.shape, info.content, info.target) == ((1, 1, 1), "vectors", "value")


@pytest.mark.parametrize(
    ("entry", "options", "said"),
    [
        ("crooked", {}, "must be uint8 of N × 1 or 3 × height × width"),
        (
            "waves",
            {"part": "test"},
            "must give a mapping with `train`.*but gave a mapping with test",
        ),
        ("stripes", {"extra": "val"}, "but gave a mapping with train, classes, val"),
        ("stripes", {"first": "columns"}, "several classes are called 'columns'"),
        ("stripes", {"first": "a\0b"}, "1 to 200 printable characters"),
        ("stripes", {"first": ""}, "1 to 200 printable characters"),
        ("uncounted", {}, "the inputs of train hold nothing: 4 × 0"),
        ("unnamed", {}, "classes must be a list of names but is a NoneType"),
        ("stripes", {"cuont": 3}, "unexpected keyword argument 'cuont'"),
        ("stripes", {"count": -1}, "plugin:stripes failed: ValueError"),
        ("faces", {}, "has no dataset plugin:faces"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(
    site: Path, tmp_path: Path, entry: str, options: dict[str, Any], said: str
) -> None:
    write_package(site)
    with pytest.raises(DataError, match=said):
        decoded(tmp_path, entry, **options)


def test_a_metric_is_recorded_under_the_evaluation_s_prefix(site: Path, tmp_path: Path) -> None:
    write_package(site)
    spec = make_spec("balanced_accuracy")
    assert not check(spec, DIGITS).problems
    assert "test_balanced_accuracy" in recorded_metrics(spec)
    data = load(spec.dataset, DIGITS, tmp_path / "data")
    *_, end = train(spec, data, tmp_path / "attempt-1")
    assert isinstance(end, Finished)
    balanced, plain = (end.metrics[f"test_{name}accuracy"] for name in ("balanced_", ""))
    # Digits are nearly balanced: the two are near each other, and not the same.
    assert balanced != plain
    assert balanced == pytest.approx(plain, abs=0.05)


def test_a_metric_gets_probabilities_and_labels_and_may_change_its_copy(site: Path) -> None:
    write_package(site)
    arrays = {
        "labels": numpy.array([0, 1, 1, 1]),
        "predictions": numpy.array([0, 0, 1, 1]),
        "probabilities": numpy.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9]]),
    }
    [value] = measure([FromPlugin(name="plugin:balanced_accuracy")], arrays).values()
    assert value == pytest.approx((1 + 2 / 3) / 2)
    regression = {"targets": numpy.array([1.0, 2.0]), "predictions": numpy.array([1.5, 2.0])}
    for _ in range(2):
        [value] = measure([FromPlugin(name="plugin:mean_error_loss")], regression).values()
        assert value == 0.25
    assert ClassificationTask().has_accuracy


def test_a_metric_of_weights_that_there_are_not_is_no_number(site: Path, tmp_path: Path) -> None:
    write_package(site)
    spec = make_spec("balanced_accuracy", optimizer={"kind": "sgd", "lr": 1e30})
    data = load(spec.dataset, DIGITS, tmp_path / "data")
    *_, end = train(spec, data, tmp_path / "attempt-1")
    assert isinstance(end, Finished)
    assert end.reason == "diverged"
    assert math.isnan(end.metrics["test_balanced_accuracy"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("alone", "cannot be called with predictions and targets"),
        ("balanced", "there is plugin:balanced_accuracy"),
    ],
)
def test_what_is_wrong_with_a_metric_is_a_problem_of_its_name(
    site: Path, entry: str, said: str
) -> None:
    write_package(site)
    [problem] = check(make_spec(entry), DIGITS).problems
    assert problem.pointer == "/evaluations/0/metrics/0/name"
    assert said in problem.detail


def test_a_metric_that_gives_no_number_ends_the_training(site: Path, tmp_path: Path) -> None:
    write_package(site)
    spec = make_spec("words")
    data = load(spec.dataset, DIGITS, tmp_path / "data")
    with pytest.raises(PluginError, match="plugin:words must give a number but gave a str"):
        list(train(spec, data, tmp_path / "attempt-1"))


def test_names_that_every_evaluation_has_are_taken() -> None:
    with pytest.raises(ValueError, match="every evaluation has a metric named loss"):
        make_spec("loss")


def test_a_job_names_the_packages_of_all_its_plugins_once(site: Path) -> None:
    write_package(site)
    spec = make_spec("balanced_accuracy", model={"name": "plugin:tiny"})
    assert list(spec.plugins) == ["model:tiny", "metric:balanced_accuracy"]
    package = find_plugin("metric", "balanced_accuracy").installed
    pinned = spec.with_packages(dict.fromkeys(spec.plugins, package))
    assert pinned.packages == (package,)
    assert content_hash(pinned, "data") != content_hash(spec, "data")
    assert pinned.plugin_places["metric:balanced_accuracy"] == "/evaluations/0/metrics/0"


def test_documents_without_metrics_are_what_they_were() -> None:
    assert "metrics" not in make_spec().model_dump(mode="json")["evaluations"][0]
