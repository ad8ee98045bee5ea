"""Checks and warnings of a spec about its model alone: known, fit for the images, its output, dropout."""

from collections.abc import Iterator

from trainer.checks.context import CheckContext
from trainer.errors import ModelError
from trainer.models import build_bare_model, input_shape
from trainer.spec import (
    Autoencoder,
    Classification,
    Polynomial,
    Problem,
    Reconstruction,
    Regression,
)
from trainer.surgery import on_meta, run_on_meta

#: Image sizes that are tried for a remedy.
_SIZES = (8, 16, 32, 64, 96, 128, 224, 256, 299, 384)


def check_model_exists(context: CheckContext) -> Iterator[Problem]:
    if (error := context.unknown) is not None:
        yield Problem(pointer=error.pointer, detail=str(error), remedy=error.remedy)


def check_model_fits_data(context: CheckContext) -> Iterator[Problem]:
    """It cannot be built for these images, or breaks on them; or dropout has no place in it."""
    if (error := context.unfit) is None or _is_of_images_alone(context, error):
        return
    remedy = error.remedy
    if error.pointer == "/model/name" and (size := _working_size(context)) is not None:
        remedy = f"dataset.image_size: {size}, or another model"
    yield Problem(pointer=error.pointer, layer=error.layer, detail=str(error), remedy=remedy)


def _is_of_images_alone(context: CheckContext, error: ModelError) -> bool:
    """The checks of the task report a model that needs images."""
    return context.info.content == "vectors" and error.pointer == "/model/name"


def _working_size(context: CheckContext) -> int | None:
    """The first of the usual sizes that the model takes."""
    for size in _SIZES:
        if size <= min(context.shape[1:]):
            continue
        dataset = context.spec.dataset.model_copy(update={"image_size": size})
        spec = context.spec.model_copy(update={"dataset": dataset})
        try:
            with on_meta():
                run_on_meta(build_bare_model(spec, context.info), input_shape(spec, context.info))
        except ModelError:
            continue
        return size
    return None


def check_output_shape(context: CheckContext) -> Iterator[Problem]:
    expected = _expected_output(context)
    if context.survey is None or expected is None or context.survey.output_shape[1:] == expected:
        return
    yield Problem(
        pointer="/model/name",
        detail=f"the model's outputs have shape {context.survey.output_shape[1:]} per image "
        f"but {expected} is needed",
        remedy="another model",
    )


def _expected_output(context: CheckContext) -> tuple[int, ...] | None:
    """None for our own models of one task: the checks of the task report that they are used for another."""
    match context.spec.task:
        case Reconstruction():
            return None
        case _ if isinstance(context.spec.model, Autoencoder | Polynomial):
            return None
        case Classification():
            return (max(len(context.info.classes), 1),)
        case Regression():
            return (1,)


def warn_idle_mc_dropout(context: CheckContext) -> Iterator[str]:
    asked = [one.prefix for one in context.spec.evaluations if one.mode == "mc_dropout"]
    if asked and context.survey is not None and not context.dropout:
        yield (
            f"the model has no dropout layer that is on, so {', '.join(asked)} would be the mean of "
            "50 equal passes: the same as mode eval"
        )


def warn_unavailable_outputs(context: CheckContext) -> Iterator[str]:
    """Of variants that share their evaluations some may lack what others are shown with: no error."""
    if context.survey is None:
        return
    reasons: dict[str, str | None] = {
        "grid": _no_plane(context),
        "mc_curve": None if context.dropout else "nothing is dropped",
        "augmented": None if context.spec.augmentation else "nothing is augmented",
        "responses": None
        if any(len(site.shape) == 3 for site in context.sites)
        else "no norm sees maps",
    }
    for evaluation in context.spec.evaluations:
        for output in evaluation.outputs:
            if (reason := reasons.get(output)) is not None:
                yield f"{evaluation.prefix} has no {output}: {reason}"


def _no_plane(context: CheckContext) -> str | None:
    if context.info.content == "vectors" and context.info.shape[0] <= 2:
        return None
    return "it is of one or two features"


MODEL_CHECKS = (check_model_exists, check_model_fits_data, check_output_shape)
MODEL_WARNINGS = (warn_idle_mc_dropout, warn_unavailable_outputs)
