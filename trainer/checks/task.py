"""Checks of a spec about its task: what is learned of which data by which model."""

from collections.abc import Iterator

from trainer.checks.context import CheckContext
from trainer.evaluation import load_metric
from trainer.plugins import REMEDY, PluginError
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


def check_task_fits_target(context: CheckContext) -> Iterator[Problem]:
    task, has_values = context.spec.task, context.info.target == "value"
    if isinstance(task, Classification) and has_values:
        yield Problem(
            pointer="/task/kind",
            detail=f"a classification needs classes as targets but {context.info.name} has values",
            remedy="task: {kind: regression}",
        )
    if isinstance(task, Regression) and not has_values:
        yield Problem(
            pointer="/task/kind",
            detail=f"a regression needs values as targets but {context.info.name} has classes",
            remedy="task: {kind: classification}, or dataset: {name: polynomial_noise}",
        )


def check_task_fits_model(context: CheckContext) -> Iterator[Problem]:
    task, model = context.spec.task, context.spec.model
    if isinstance(task, Reconstruction) != isinstance(model, Autoencoder):
        if isinstance(task, Reconstruction):
            detail = f"a reconstruction needs a model that outputs images but {model.name} does not"
            remedy = "model: {name: autoencoder}"
        else:
            detail = f"an autoencoder outputs images, which a {task.kind} cannot use"
            remedy = "task: {kind: reconstruction}"
        yield Problem(pointer="/model/name", detail=detail, remedy=remedy)
    if isinstance(model, Polynomial) and not isinstance(task, Regression):
        yield Problem(
            pointer="/model/name",
            detail=f"a polynomial outputs one value, which a {task.kind} cannot use",
            remedy="task: {kind: regression}, or model: {name: mlp}",
        )


def check_metrics_can_be_measured(context: CheckContext) -> Iterator[Problem]:
    """By functions of packages of plugins, which must be here and take predictions and targets."""
    for index, evaluation in enumerate(context.spec.evaluations):
        for number, metric in enumerate(evaluation.metrics):
            place = f"/evaluations/{index}/metrics/{number}/name"
            if isinstance(context.spec.task, Reconstruction):
                yield Problem(
                    pointer=place,
                    detail="a reconstruction keeps the first images alone, of which no metric can be measured",
                    remedy="no metrics",
                )
                continue
            try:
                load_metric(metric)
            except PluginError as error:
                yield Problem(pointer=place, detail=str(error), remedy=REMEDY)


def check_bce_has_pixels(context: CheckContext) -> Iterator[Problem]:
    """Binary cross-entropy is for pixels in [0, 1]."""
    task = context.spec.task
    if (
        isinstance(task, Reconstruction)
        and task.loss == "bce"
        and context.info.content == "vectors"
    ):
        yield Problem(
            pointer="/task/loss",
            detail=f"bce needs pixels in [0, 1] but {context.info.name} has features of any size",
            remedy="task: {kind: reconstruction, loss: mse}",
        )


def check_model_takes_vectors(context: CheckContext) -> Iterator[Problem]:
    if context.info.content == "vectors" and not isinstance(context.spec.model, _ON_VECTORS):
        yield Problem(
            pointer="/model/name",
            detail=f"{context.spec.model.name} needs images but {context.info.name} has vectors of "
            f"{context.info.shape[0]} features",
            remedy="model: {name: mlp}",
        )


def check_image_options(context: CheckContext) -> Iterator[Problem]:
    if context.info.content != "vectors":
        return
    for option in ("image_size", "binarize", "shift"):
        if getattr(context.spec.dataset, option) is not None:
            yield Problem(
                pointer=f"/dataset/{option}",
                detail=f"{option} is for images but {context.info.name} has vectors",
                remedy=f"no {option}, or a dataset of images",
            )


def check_label_noise_has_classes(context: CheckContext) -> Iterator[Problem]:
    if context.info.target == "value" and context.spec.dataset.label_noise:
        yield Problem(
            pointer="/dataset/label_noise",
            detail=f"label_noise draws classes anew but {context.info.name} has values",
            remedy="label_noise: 0.0; register a noisier set ({kind: generated, noise: …})",
        )


def check_accuracy_monitor(context: CheckContext) -> Iterator[Problem]:
    monitor = context.spec.early_stopping.monitor
    if monitor.endswith("_accuracy") and not isinstance(context.spec.task, Classification):
        yield Problem(
            pointer="/early_stopping/monitor",
            detail=f"monitor is {monitor} but a {context.spec.task.kind} has no accuracy",
            remedy="monitor: val_loss",
        )


TASK_CHECKS = (
    check_task_fits_target,
    check_task_fits_model,
    check_bce_has_pixels,
    check_model_takes_vectors,
    check_image_options,
    check_label_noise_has_classes,
    check_accuracy_monitor,
    check_metrics_can_be_measured,
)
