"""Which name was meant by one that doesn't exist."""

import pytest

from trainer.problems.suggestions import MOST_NAMES, did_you_mean, listed

NORMS = ["none", "batch", "batch_renorm", "layer", "group", "weight_norm"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("bacth", "batch"),
        ("BATCH", "batch"),
        ("BatchNorm2d", "batch"),
        ("group-norm", "group"),
        ("layer normalization", "layer"),
        ("weight_norm2", "weight_norm"),
    ],
)
def test_the_nearest_name_is_meant(word: str, meant: str) -> None:
    assert did_you_mean(word, NORMS) == f"; did you mean {meant!r}?"


@pytest.mark.parametrize(
    "word", ["quantum", "norm", "", "batch" * 10**5, 3, None, ["batch"], "batch"]
)
def test_nothing_is_meant_by_what_is_far_from_every_name_or_is_one(word: object) -> None:
    assert did_you_mean(word, NORMS) == ""
    assert did_you_mean(word, []) == ""


def test_a_long_list_is_cut_off_with_its_length() -> None:
    assert listed(["a", "b"]) == "a, b"
    many = [f"name{number}" for number in range(MOST_NAMES + 5)]
    assert listed(many).endswith(f"name{MOST_NAMES - 1}, … ({MOST_NAMES + 5} in all)")
