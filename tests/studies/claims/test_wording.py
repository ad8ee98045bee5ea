"""What a statistic is called on an axis, and the unit of its numbers."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from studies.claims.schemas import ClaimPart
from studies.claims.wording import relation, unit_of_statistic, words
from studies.spec.claims import Statistic

_ACCURACY = {"kind": "curve", "column": "val_accuracy", "take": "best"}
_LOSS = {"kind": "curve", "column": "train_loss"}


@pytest.mark.parametrize(
    ("statistic", "said", "unit"),
    [
        ("test_error", "test error", "points"),
        ("test_loss", "test loss", ""),
        (_ACCURACY, "best val accuracy", "points"),
        (_LOSS, "last train loss", ""),
        ({"kind": "diverged"}, "diverged", "points"),
        ({"kind": "steps_to_reach", "value": 0.9}, "steps to reach 0.9", "steps"),
        (
            {"kind": "steps_to_reach", "best_of": "none"},
            "steps to reach the best of none",
            "steps",
        ),
        (
            {"kind": "look", "statistic": "gradient_norm", "layer": "first"},
            "gradient norm, first",
            "",
        ),
        ({"kind": "spread", "layer": "network"}, "spread ratio, network layer", ""),
        (
            {"kind": "difference", "of": [_ACCURACY, "test_accuracy"]},
            "best val accuracy - test accuracy",
            "points",
        ),
        # Numbers of different units have a difference of none.
        (
            {"kind": "difference", "of": [_ACCURACY, _LOSS]},
            "best val accuracy - last train loss",
            "",
        ),
        ({"kind": "ratio", "of": ["test_loss", _LOSS]}, "test loss / last train loss", ""),
        (
            {"kind": "gain", "of": "test_error", "over": "batch"},
            "gain in test error over batch",
            "points",
        ),
        ({"kind": "log10", "of": _LOSS}, "log10 of last train loss", ""),
    ],
)
def test_each_statistic_has_words_and_a_unit(statistic: Any, said: str, unit: str) -> None:
    parsed: Any = TypeAdapter(Statistic).validate_python(statistic)
    assert (words(parsed), unit_of_statistic(parsed)) == (said, unit)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (("above", "none"), "batch above none"),
        (("below", 0.1), "batch below 10.00 %"),
        (("within", "group"), "batch within 0.50 points of group"),
    ],
)
def test_what_a_part_claims_is_said_with_its_margin(part: tuple[Any, Any], said: str) -> None:
    kind, reference = part
    one = ClaimPart(
        arm="batch", relation=kind, reference=reference, n=3,
        difference=None, interval=None, p_value=None, opposite_p_value=None,
    )  # fmt: skip
    assert relation(one, 0.005, "points") == said
