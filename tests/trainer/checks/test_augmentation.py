"""Checks of augmentations: of vectors, beyond the border, wrong for digits."""

import pytest

from tests.support.spec_checks import (
    MLP,
    POINTS,
    SMALL,
    assert_accepted,
    assert_no_warnings,
    assert_refused_by_this_check_alone,
    assert_warned_about_by_this_check_alone,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.checks.augmentation import (
    check_augmentation_has_images,
    check_reflected_padding,
    warn_idle_rand_augment,
    warn_label_changing_augmentation,
)
from trainer.checks.run import check
from trainer.spec.builtin import BUILT_IN

#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (
        check_augmentation_has_images,
        make_spec(MLP, augmentation=[{"kind": "brightness"}]),
        POINTS,
        "/augmentation/0/kind",
        None,
        "brightness is for images",
    ),
    (
        check_augmentation_has_images,
        make_spec(MLP, augmentation=[{"kind": "flip"}]),
        BUILT_IN["mnist1d"],
        "/augmentation/0/kind",
        None,
        "no augmentation",
    ),
    (
        check_reflected_padding,
        make_spec(augmentation=[{"kind": "padded_crop", "padding": 8, "fill": "reflect"}]),
        DIGITS,
        "/augmentation/0/padding",
        None,
        "at most 7",
    ),
    (
        check_reflected_padding,
        make_spec(
            augmentation=[
                {"kind": "brightness"},
                {"kind": "padded_crop", "padding": 40, "fill": "reflect"},
            ]
        ),
        SMALL,
        "/augmentation/1/padding",
        None,
        "fill: black",
    ),
]

GOOD = [
    (make_spec(augmentation=[{"kind": "padded_crop", "padding": 7, "fill": "reflect"}]), DIGITS),
]

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    (
        warn_label_changing_augmentation,
        {"augmentation": [{"kind": "flip"}]},
        DIGITS,
        "horizontal flip",
    ),
    (
        warn_label_changing_augmentation,
        {"augmentation": [{"kind": "flip", "axis": "vertical"}]},
        make_info(name="mnist10k"),
        "vertical flip",
    ),
    (
        warn_label_changing_augmentation,
        {"augmentation": [{"kind": "rotate", "degrees": 180.0}]},
        DIGITS,
        "a 6 is a 9",
    ),
    (
        warn_idle_rand_augment,
        {"augmentation": [{"kind": "rand_augment", "magnitude": 0}]},
        DIGITS,
        "at magnitude 0",
    ),
    (
        warn_idle_rand_augment,
        {"augmentation": [{"kind": "shift"}, {"kind": "rand_augment", "magnitude": 0}]},
        SMALL,
        "at magnitude 0",
    ),
]

UNWARNED = [
    {"augmentation": [{"kind": "rotate", "degrees": 15.0}, {"kind": "shift"}]},
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


def test_flips_are_fine_on_other_images():
    spec = make_spec(augmentation=[{"kind": "flip"}])
    assert check(spec, make_info(name="fashion_mnist")).warnings == ()
    assert check(spec, SMALL).warnings == ()
