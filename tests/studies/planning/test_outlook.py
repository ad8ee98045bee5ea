"""What is said of a study before it is trained."""

from typing import Any

import pytest

from studies.planning.outlook import (
    growth_notes,
    repeat_notes,
    spec_defaults,
    study_defaults,
    verdict_outlook,
)
from studies.spec.expand import expand
from studies.spec.study import read_study

STUDY: dict[str, Any] = {
    "name": "norms",
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp"},
        "optimizer": {"kind": "sgd", "lr": 0.1},
        "training": {"epochs": 3},
    },
    "variants": {
        "none": {"norm": {"kind": "none"}},
        "batch": {"norm": {"kind": "batch"}, "early_stopping": {"kind": "patience"}},
    },
}


@pytest.mark.parametrize(
    ("fields", "possible", "sentence"),
    [
        ({"seeds": 3}, False, "3 seeds: intervals only, a verdict needs 8"),
        ({}, True, "a verdict is possible: 8 seeds"),
        ({"looks": [8, 16]}, True, "a verdict is possible at each look: after 8 and 16 seeds"),
        (
            {"variants": {"none": {"norm": {"kind": "none"}}}},
            False,
            "one variant: there is nothing to compare it with",
        ),
    ],
)
def test_a_plan_says_whether_there_can_be_a_verdict(
    fields: dict[str, Any], possible: bool, sentence: str
) -> None:
    found = verdict_outlook(read_study({**STUDY, **fields}))
    assert (found.possible, found.sentence) == (possible, sentence)


def test_the_defaults_that_a_document_leaves_out_are_listed() -> None:
    study = read_study(STUDY)
    assert {one.field: one.value for one in study_defaults(study, STUDY)} == {
        "seeds": 8, "baseline": "none", "metric": "test_accuracy",
    }  # fmt: skip
    specs = [(cell.variant, cell.spec) for cell in expand(study) if cell.seed == 0]
    found = {one.field: (one.value, one.arms) for one in spec_defaults(specs)}
    assert found == {
        "dataset.val_fraction": (0.2, ()),
        "schedule.kind": ("constant", ()),
        "training.batch_size": (64, ()),
        "early_stopping.kind": ("none", ("none",)),
        "resources.timeout": (3600.0, ()),
    }


def test_growing_without_looks_makes_the_verdict_exploratory() -> None:
    [note] = growth_notes(read_study({**STUDY, "seeds": 12}), range(8))
    assert note.startswith(
        "The verdict is exploratory from now on: 8 seeds were planned, and the study has 12."
    )
    looks = {**STUDY, "looks": [8, 16]}
    assert not list(growth_notes(read_study({**looks, "seeds": 16}), range(8)))
    [note] = growth_notes(read_study({**looks, "seeds": 12}), range(8))
    assert "while the study has 12 seeds" in note


def test_a_repeated_study_is_said_to_be_one_with_what_to_do_instead() -> None:
    [note] = repeat_notes([(3, "partial", 1), (1, "succeeded", 0)])
    assert note == (
        "Study 3 trains the same (it is partial): to add seeds to it, extend it. "
        "Its 1 job that failed or were cancelled can be retried."
    )
    assert not list(repeat_notes([]))
