"""Checks of splits, batches and schedule: too few examples, no step, late milestones."""

import pytest

from tests.support.spec_checks import (
    assert_accepted,
    assert_no_warnings,
    assert_refused_by_this_check_alone,
    assert_warned_about_by_this_check_alone,
    batch,
    data,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.checks.data import (
    check_at_least_one_step,
    check_class_counts,
    check_test_size,
    check_train_size,
    check_training_size,
    check_validation_size,
    warn_late_milestones,
)

#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (
        check_train_size,
        make_spec(**data(train_size=1151)),
        DIGITS,
        "/dataset/train_size",
        None,
        "at most 1150",
    ),
    (
        check_train_size,
        make_spec(**data(train_size=900, val_fraction=0.5)),
        DIGITS,
        "/dataset/train_size",
        None,
        "719 examples",
    ),
    (
        check_validation_size,
        make_spec(**data(val_fraction=0.005)),
        DIGITS,
        "/dataset/val_fraction",
        None,
        "would hold 7 examples",
    ),
    (
        check_validation_size,
        make_spec(**data(val_fraction=0.0001)),
        DIGITS,
        "/dataset/val_fraction",
        None,
        "would hold 0 examples",
    ),
    (
        check_training_size,
        make_spec(**data(train_size=9)),
        DIGITS,
        "/dataset/train_size",
        None,
        "10 classes",
    ),
    (
        check_training_size,
        make_spec(**data(val_fraction=0.8)),
        make_info(train_size=50),
        "/dataset/val_fraction",
        None,
        "would hold 8",
    ),
    (
        check_test_size,
        make_spec(),
        make_info(train_size=40),
        "/dataset/name",
        None,
        "would hold 8",
    ),
    (check_test_size, make_spec(), make_info(train_size=12), "/dataset/name", None, "at least 50"),
    (
        check_class_counts,
        make_spec(),
        make_info(class_counts=(197, *[200] * 8, 0)),
        "/dataset/name",
        None,
        "class '9' has 0; each class needs 3",
    ),
    (
        check_class_counts,
        make_spec(),
        make_info(class_counts=(197, *[200] * 7, 198, 1), test_size=100),
        "/dataset/name",
        None,
        "at least 2, or leave the class out",
    ),
    (
        check_at_least_one_step,
        make_spec(**batch(1151, drop_last=True)),
        DIGITS,
        "/training/batch_size",
        None,
        "no step",
    ),
    (
        check_at_least_one_step,
        make_spec(**batch(64, drop_last=True), **data(train_size=63)),
        DIGITS,
        "/training/batch_size",
        None,
        "at most 63",
    ),
]

GOOD = [
    (make_spec(**data(train_size=1150)), DIGITS),
    (make_spec(**data(val_fraction=0.007)), DIGITS),
    (make_spec(**data(train_size=10)), DIGITS),
    (make_spec(), make_info(train_size=100)),
    (make_spec(), make_info(train_size=100, test_size=1)),
    (make_spec(**batch(1150, drop_last=True)), DIGITS),
    (make_spec(**batch(1151)), DIGITS),
]

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    (
        warn_late_milestones,
        {"schedule": {"kind": "step", "milestones": [5, 15]}},
        DIGITS,
        "milestones 15 ",
    ),
    (
        warn_late_milestones,
        {
            "schedule": {"kind": "step", "milestones": [3]},
            "training": {"steps": 90, "eval_every": 40},
        },
        DIGITS,
        "the 3 evaluation",
    ),
]

UNWARNED = [
    {"schedule": {"kind": "step", "milestones": [5, 14]}},
]


@pytest.mark.parametrize("case", BAD, ids=name_case)
def test_a_bad_spec_is_named_by_field_layer_and_remedy_and_by_this_check_alone(monkeypatch, case):
    assert_refused_by_this_check_alone(monkeypatch, *case)


@pytest.mark.parametrize("case", GOOD, ids=name_case)
def test_a_good_neighbour_passes_and_its_parameters_are_counted(case):
    assert_accepted(*case)


@pytest.mark.parametrize("case", WARNED, ids=name_case)
def test_a_doubtful_spec_is_warned_about_by_this_check_alone(monkeypatch, case):
    assert_warned_about_by_this_check_alone(monkeypatch, *case)


@pytest.mark.parametrize("options", UNWARNED)
def test_a_sound_spec_has_no_warnings(options):
    assert_no_warnings(options)
