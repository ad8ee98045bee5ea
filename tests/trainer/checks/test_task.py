"""Checks of the task against target, model and dataset."""

import pytest

from tests.support.spec_checks import (
    MLP,
    POINTS,
    RECONSTRUCTION,
    REGRESSION,
    VALUES,
    assert_accepted,
    assert_refused_by_this_check_alone,
    data,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.checks.task import (
    check_accuracy_monitor,
    check_bce_has_pixels,
    check_image_options,
    check_label_noise_has_classes,
    check_model_takes_vectors,
    check_task_fits_model,
    check_task_fits_target,
)
from trainer.spec.builtin import BUILT_IN

#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (check_task_fits_target, make_spec(MLP), VALUES, "/task/kind", None, "kind: regression"),
    (
        check_task_fits_target,
        make_spec(MLP, task={"kind": "regression"}),
        DIGITS,
        "/task/kind",
        None,
        "a regression needs values as targets",
    ),
    (
        check_task_fits_model,
        make_spec("cnn", task={"kind": "reconstruction"}),
        DIGITS,
        "/model/name",
        None,
        "model: {name: autoencoder}",
    ),
    (
        check_task_fits_model,
        make_spec("autoencoder"),
        DIGITS,
        "/model/name",
        None,
        "task: {kind: reconstruction}",
    ),
    (
        check_task_fits_model,
        make_spec("polynomial", "none"),
        make_info(shape=(1, 1, 1)),
        "/model/name",
        None,
        "task: {kind: regression}",
    ),
    (
        check_bce_has_pixels,
        make_spec("autoencoder", **RECONSTRUCTION),
        POINTS,
        "/task/loss",
        None,
        "loss: mse",
    ),
    (
        check_bce_has_pixels,
        make_spec("autoencoder", **RECONSTRUCTION),
        BUILT_IN["mnist1d"],
        "/task/loss",
        None,
        "needs pixels in [0, 1] but mnist1d",
    ),
    (
        check_model_takes_vectors,
        make_spec("cnn"),
        POINTS,
        "/model/name",
        None,
        "vectors of 2 features",
    ),
    (
        check_model_takes_vectors,
        make_spec("torchvision:resnet18"),
        BUILT_IN["mnist1d"],
        "/model/name",
        None,
        "model: {name: mlp}",
    ),
    (
        check_image_options,
        make_spec(MLP, **data(image_size=8)),
        POINTS,
        "/dataset/image_size",
        None,
        "is for images",
    ),
    (
        check_image_options,
        make_spec(MLP, **data(binarize=0.5)),
        POINTS,
        "/dataset/binarize",
        None,
        "a dataset of images",
    ),
    (
        check_label_noise_has_classes,
        make_spec(MLP, **data(label_noise=0.1), task={"kind": "regression"}),
        VALUES,
        "/dataset/label_noise",
        None,
        "draws classes anew",
    ),
    (
        check_label_noise_has_classes,
        make_spec(**REGRESSION, norm="none", **data(label_noise=0.4)),
        VALUES,
        "/dataset/label_noise",
        None,
        "label_noise: 0.0",
    ),
    (
        check_accuracy_monitor,
        make_spec(
            **REGRESSION,
            norm="none",
            early_stopping={"kind": "patience", "monitor": "val_accuracy"},
        ),
        VALUES,
        "/early_stopping/monitor",
        None,
        "a regression has no accuracy",
    ),
    (
        check_accuracy_monitor,
        make_spec(
            "autoencoder",
            **RECONSTRUCTION,
            early_stopping={"kind": "none", "monitor": "train_accuracy"},
        ),
        DIGITS,
        "/early_stopping/monitor",
        None,
        "monitor: val_loss",
    ),
]

GOOD = [
    (make_spec(MLP), POINTS),
    (make_spec(**REGRESSION, norm="none"), VALUES),
    (make_spec(MLP, task={"kind": "regression"}), VALUES),
    (make_spec("autoencoder", **RECONSTRUCTION), DIGITS),
    (make_spec("autoencoder", task={"kind": "reconstruction", "loss": "mse"}), POINTS),
]


@pytest.mark.parametrize("case", BAD, ids=name_case)
def test_a_bad_spec_is_named_by_field_layer_and_remedy_and_by_this_check_alone(monkeypatch, case):
    assert_refused_by_this_check_alone(monkeypatch, *case)


@pytest.mark.parametrize("case", GOOD, ids=name_case)
def test_a_good_neighbour_passes_and_its_parameters_are_counted(case):
    assert_accepted(*case)
