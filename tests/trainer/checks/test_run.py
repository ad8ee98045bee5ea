"""The whole check: every check and every warning has its cases, and large models are checked too."""

from collections import Counter

from tests.support.spec_checks import COLOUR
from tests.support.trainer_specs import make_spec
from tests.trainer.checks import (
    test_augmentation,
    test_batches,
    test_data,
    test_dropout,
    test_model,
    test_norms,
    test_optimizer,
    test_regularizers,
    test_task,
)
from trainer.checks.model import check_output_shape
from trainer.checks.run import CHECKS, WARNINGS, check

BAD = Counter(
    case[0]
    for module in (
        test_augmentation,
        test_batches,
        test_data,
        test_model,
        test_norms,
        test_optimizer,
        test_regularizers,
        test_task,
    )
    for case in module.BAD
)
WARNED = Counter(
    case[0]
    for module in (
        test_augmentation,
        test_batches,
        test_data,
        test_dropout,
        test_model,
        test_norms,
        test_regularizers,
    )
    for case in module.WARNED
)


def test_every_check_has_two_bad_cases():
    # What a model gives is checked on a stand-in: no library model is known to fail it.
    assert {find for find in CHECKS if BAD[find] < 2} <= {check_output_shape}


def test_every_warning_has_two_cases():
    assert {find for find in WARNINGS if WARNED[find] < 2} == set()


def test_a_model_that_computes_with_tensors_while_it_is_built_is_checked_too():
    report = check(make_spec("torchvision:regnet_y_400mf"), COLOUR)
    assert report.problems == ()
    assert report.parameters == 3_907_554
