"""Whatever is sent to MLflow is something that MLflow accepts."""

import pytest
from mlflow.utils import validation

from worker.mirror.limits import LONGEST_TAG, batches, clip, entity_key, run_name


def test_mlflow_has_the_limits_that_are_kept() -> None:
    assert validation.MAX_ENTITY_KEY_LENGTH == 250
    assert validation.MAX_PARAM_VAL_LENGTH == 6000
    assert validation.MAX_TAG_VAL_LENGTH == LONGEST_TAG
    assert validation.MAX_DATASET_SOURCE_SIZE == 65_535


def test_a_name_that_fits_stays_as_it_is() -> None:
    assert run_name("group·g8 | seed 1") == "group·g8 | seed 1"
    assert run_name("x" * 250) == "x" * 250


@pytest.mark.parametrize("end", ["", " | seed 3", " | trial at seed 12"])
def test_a_long_name_is_shortened_keeps_its_beginning_and_its_seed_and_stays_unique(
    end: str,
) -> None:
    names = [f"group, regularization={'a' * 300}{last}{end}" for last in "xy"]
    short = [run_name(name) for name in names]
    assert len(set(short)) == 2
    for name in short:
        assert len(name) == 250
        assert name.startswith("group, regularization=aaa")
        assert name.endswith(end)


@pytest.mark.parametrize(
    "name",
    [
        "", "..", "/a", "a//b", "a/./b", "a/../b", "a/", "ReLU(inplace)", "a\nb", "x" * 251,
        f"{'x' * 245}/{'y' * 10}", "blocks.0·g8/after_p50",
    ],
)  # fmt: skip
def test_a_key_that_mlflow_refuses_becomes_one_that_it_takes(name: str) -> None:
    key = entity_key(name)
    validation._validate_metric(key, 1.0, 0, 0)
    validation._validate_param(key, "")
    validation._validate_tag(key, "")
    assert entity_key(f"{name}?") != key


@pytest.mark.parametrize(
    "name", ["optimizer.lr", "diagnostics/layer1.0.bn1/after_p50", "weiß_loss"]
)
def test_a_key_that_mlflow_takes_stays_as_it_is(name: str) -> None:
    assert entity_key(name) == name


def test_what_is_cut_says_so() -> None:
    assert clip("abc", 3) == "abc"
    assert clip("abcdef", 5) == "abc …"


def test_batches_keep_to_a_count_and_to_a_size() -> None:
    small = [(str(number), "", number) for number in range(7)]
    assert list(batches(small, 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    # A request's million characters are counted after é has become six of them.
    large = [(str(number), "é" * 6000, number) for number in range(20)]
    assert [len(group) for group in batches(large, 100)] == [8, 8, 4]
