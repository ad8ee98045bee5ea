"""Checks of a spec about its task: what is learned of which data by which model."""

from collections.abc import Iterator

from trainer.checks.context import Case
from trainer.spec import (
    Autoencoder,
    Classification,
    Mlp,
    Polynomial,
    Problem,
    Reconstruction,
    Regression,
)

_ON_VECTORS = (Mlp, Autoencoder, Polynomial)


def task_against_target(case: Case) -> Iterator[Problem]:
    task, has_values = case.spec.task, case.info.target == "value"
    if isinstance(task, Classification) and has_values:
        yield Problem(
            pointer="/task/kind",
            detail=f"{case.info.name} has values as targets, which cannot be classified",
            remedy="task: {kind: regression}",
        )
    if isinstance(task, Regression) and not has_values:
        yield Problem(
            pointer="/task/kind",
            detail=f"{case.info.name} has classes as targets, which are no values to regress on",
            remedy="task: {kind: classification}, or dataset: {name: polynomial_noise}",
        )


def task_against_model(case: Case) -> Iterator[Problem]:
    task, model = case.spec.task, case.spec.model
    if isinstance(task, Reconstruction) != isinstance(model, Autoencoder):
        if isinstance(task, Reconstruction):
            detail = f"{model.name} gives no images, which a reconstruction needs"
            remedy = "model: {name: autoencoder}"
        else:
            detail = f"an autoencoder gives images, which a {task.kind} can't use"
            remedy = "task: {kind: reconstruction}"
        yield Problem(pointer="/model/name", detail=detail, remedy=remedy)
    if isinstance(model, Polynomial) and not isinstance(task, Regression):
        yield Problem(
            pointer="/model/name",
            detail=f"a polynomial gives one value, which a {task.kind} can't use",
            remedy="task: {kind: regression}, or model: {name: mlp}",
        )


def pixels_of_vectors(case: Case) -> Iterator[Problem]:
    """Binary cross-entropy is for pixels in [0, 1]."""
    task = case.spec.task
    if isinstance(task, Reconstruction) and task.loss == "bce" and case.info.content == "vectors":
        yield Problem(
            pointer="/task/loss",
            detail=f"the features of {case.info.name} are no pixels in [0, 1], which bce needs",
            remedy="task: {kind: reconstruction, loss: mse}",
        )


def model_of_images(case: Case) -> Iterator[Problem]:
    if case.info.content == "vectors" and not isinstance(case.spec.model, _ON_VECTORS):
        yield Problem(
            pointer="/model/name",
            detail=f"{case.spec.model.name} needs images but {case.info.name} has vectors of "
            f"{case.info.shape[0]} features",
            remedy="model: {name: mlp}",
        )


def options_of_images(case: Case) -> Iterator[Problem]:
    if case.info.content != "vectors":
        return
    for option in ("image_size", "binarize", "shift"):
        if getattr(case.spec.dataset, option) is not None:
            yield Problem(
                pointer=f"/dataset/{option}",
                detail=f"{option} is for images but {case.info.name} has vectors",
                remedy=f"no {option}, or a dataset of images",
            )


def noise_on_values(case: Case) -> Iterator[Problem]:
    if case.info.target == "value" and case.spec.dataset.label_noise:
        yield Problem(
            pointer="/dataset/label_noise",
            detail=f"label_noise draws classes anew but {case.info.name} has values",
            remedy="label_noise: 0.0; register a noisier set ({kind: generated, noise: …})",
        )


def accuracy_without_classes(case: Case) -> Iterator[Problem]:
    monitor = case.spec.early_stopping.monitor
    if monitor.endswith("_accuracy") and not isinstance(case.spec.task, Classification):
        yield Problem(
            pointer="/early_stopping/monitor",
            detail=f"monitor is {monitor} but a {case.spec.task.kind} has no accuracy",
            remedy="monitor: val_loss",
        )


TASK_CHECKS = (
    task_against_target,
    task_against_model,
    pixels_of_vectors,
    model_of_images,
    options_of_images,
    noise_on_values,
    accuracy_without_classes,
)
