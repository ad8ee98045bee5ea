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
    accuracy_without_classes,
    model_of_images,
    noise_on_values,
    options_of_images,
    pixels_of_vectors,
    task_against_model,
    task_against_target,
)
from trainer.spec.builtin import BUILT_IN

#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (task_against_target, make_spec(MLP), VALUES, "/task/kind", None, "kind: regression"),
    (
        task_against_target,
        make_spec(MLP, task={"kind": "regression"}),
        DIGITS,
        "/task/kind",
        None,
        "no values to regress on",
    ),
    (
        task_against_model,
        make_spec("cnn", task={"kind": "reconstruction"}),
        DIGITS,
        "/model/name",
        None,
        "model: {name: autoencoder}",
    ),
    (
        task_against_model,
        make_spec("autoencoder"),
        DIGITS,
        "/model/name",
        None,
        "task: {kind: reconstruction}",
    ),
    (
        task_against_model,
        make_spec("polynomial", "none"),
        make_info(shape=(1, 1, 1)),
        "/model/name",
        None,
        "task: {kind: regression}",
    ),
    (
        pixels_of_vectors,
        make_spec("autoencoder", **RECONSTRUCTION),
        POINTS,
        "/task/loss",
        None,
        "loss: mse",
    ),
    (
        pixels_of_vectors,
        make_spec("autoencoder", **RECONSTRUCTION),
        BUILT_IN["mnist1d"],
        "/task/loss",
        None,
        "mnist1d are no pixels",
    ),
    (model_of_images, make_spec("cnn"), POINTS, "/model/name", None, "vectors of 2 features"),
    (
        model_of_images,
        make_spec("torchvision:resnet18"),
        BUILT_IN["mnist1d"],
        "/model/name",
        None,
        "model: {name: mlp}",
    ),
    (
        options_of_images,
        make_spec(MLP, **data(image_size=8)),
        POINTS,
        "/dataset/image_size",
        None,
        "is for images",
    ),
    (
        options_of_images,
        make_spec(MLP, **data(binarize=0.5)),
        POINTS,
        "/dataset/binarize",
        None,
        "a dataset of images",
    ),
    (
        noise_on_values,
        make_spec(MLP, **data(label_noise=0.1), task={"kind": "regression"}),
        VALUES,
        "/dataset/label_noise",
        None,
        "draws classes anew",
    ),
    (
        noise_on_values,
        make_spec(**REGRESSION, norm="none", **data(label_noise=0.4)),
        VALUES,
        "/dataset/label_noise",
        None,
        "label_noise: 0.0",
    ),
    (
        accuracy_without_classes,
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
        accuracy_without_classes,
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
