"""The whole check: every check and every warning has its cases, and large models are checked too."""

from collections import Counter

import pytest

from tests.support.spec_checks import COLOUR, batch, forget_networks
from tests.support.trainer_specs import DIGITS, make_spec
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
from trainer.checks import run
from trainer.checks.model import check_output_shape
from trainer.checks.run import CHECKS, WARNINGS, check
from trainer.checks.task import check_metrics_can_be_measured

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
        test_optimizer,
        test_regularizers,
    )
    for case in module.WARNED
)


def test_every_check_has_two_bad_cases():
    # What a model gives is checked on a stand-in: no library model is known to fail it.
    assert {find for find in CHECKS if BAD[find] < 2} <= {
        check_output_shape,
        # Of plugins, which have tests of their own.
        check_metrics_can_be_measured,
    }


def test_every_warning_has_two_cases():
    assert {find for find in WARNINGS if WARNED[find] < 2} == set()


def test_a_model_that_computes_with_tensors_while_it_is_built_is_checked_too():
    report = check(make_spec("torchvision:regnet_y_400mf"), COLOUR)
    assert report.problems == ()
    assert report.parameters == 3_907_554


SETTINGS = (
    {},
    batch(16),
    batch(1),
    batch(8, accumulate=8),
    {"optimizer": {"kind": "adam", "lr": 0.5}, "seed": 3},
    {"training": {"epochs": 7}, "evaluations": [], "early_stopping": {"kind": "patience"}},
)


def test_arms_that_train_one_network_try_it_once():
    for settings in SETTINGS:
        check(make_spec("cnn", "batch", **settings), DIGITS)
    # With a batch of one, batch norm takes out what the network sees: that is another question.
    assert run._try_network.cache_info().misses == 2


@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
def test_a_network_that_was_tried_before_gets_the_same_report(norm):
    specs = [make_spec("cnn", norm, **settings) for settings in SETTINGS]
    after_others = [check(spec, DIGITS) for spec in specs]
    for spec, report in zip(specs, after_others, strict=True):
        forget_networks()
        assert check(spec, DIGITS) == report
