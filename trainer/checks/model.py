"""Checks and warnings of a spec about its model alone: known, fit for the images, its output, dropout."""

from collections.abc import Iterator

import torch

from trainer.checks.context import Case
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
from trainer.surgery import run_on_meta

#: Image sizes that are tried for a remedy.
_SIZES = (8, 16, 32, 64, 96, 128, 224, 256, 299, 384)


def unknown_model(case: Case) -> Iterator[Problem]:
    if (error := case.unknown) is not None:
        yield Problem(pointer=error.pointer, detail=str(error), remedy=error.remedy)


def unfit_model(case: Case) -> Iterator[Problem]:
    """It cannot be built for these images, or breaks on them; or dropout has no place in it."""
    if (error := case.unfit) is None or _is_of_images_alone(case, error):
        return
    remedy = error.remedy
    if error.pointer == "/model/name" and (size := _working_size(case)) is not None:
        remedy = f"dataset.image_size: {size}, or another model"
    yield Problem(pointer=error.pointer, layer=error.layer, detail=str(error), remedy=remedy)


def _is_of_images_alone(case: Case, error: ModelError) -> bool:
    """That it needs images is told by the checks of the task."""
    return case.info.content == "vectors" and error.pointer == "/model/name"


def _working_size(case: Case) -> int | None:
    """The first of the usual sizes that the model takes."""
    for size in _SIZES:
        if size <= min(case.shape[1:]):
            continue
        dataset = case.spec.dataset.model_copy(update={"image_size": size})
        spec = case.spec.model_copy(update={"dataset": dataset})
        try:
            with torch.device("meta"):
                run_on_meta(build_bare_model(spec, case.info), input_shape(spec, case.info))
        except ModelError:
            continue
        return size
    return None


def strange_output(case: Case) -> Iterator[Problem]:
    wanted = _wanted_output(case)
    if case.survey is None or wanted is None or case.survey.output_shape[1:] == wanted:
        return
    yield Problem(
        pointer="/model/name",
        detail=f"the model gives outputs of shape {case.survey.output_shape[1:]} per image "
        f"but {wanted} is needed",
        remedy="another model",
    )


def _wanted_output(case: Case) -> tuple[int, ...] | None:
    """None for our own models of one task: that they have another is told by the checks of the task."""
    match case.spec.task:
        case Reconstruction():
            return None
        case _ if isinstance(case.spec.model, Autoencoder | Polynomial):
            return None
        case Classification():
            return (max(len(case.info.classes), 1),)
        case Regression():
            return (1,)


def idle_mc_dropout(case: Case) -> Iterator[str]:
    asked = [one.prefix for one in case.spec.evaluations if one.mode == "mc_dropout"]
    if asked and case.survey is not None and not case.dropout:
        yield (
            f"the model has no dropout layer that is on, so {', '.join(asked)} would be the mean of "
            "50 equal passes: the same as mode eval"
        )


def idle_outputs(case: Case) -> Iterator[str]:
    """Of variants that share their evaluations some may lack what others are shown with: no error."""
    if case.survey is None:
        return
    reasons: dict[str, str | None] = {
        "grid": _no_plane(case),
        "mc_curve": None if case.dropout else "nothing is dropped",
        "augmented": None if case.spec.augmentation else "nothing is augmented",
        "responses": None
        if any(len(site.shape) == 3 for site in case.sites)
        else "no norm sees maps",
    }
    for evaluation in case.spec.evaluations:
        for output in evaluation.outputs:
            if (reason := reasons.get(output)) is not None:
                yield f"{evaluation.prefix} has no {output}: {reason}"


def _no_plane(case: Case) -> str | None:
    if case.info.content == "vectors" and case.info.shape[0] <= 2:
        return None
    return "it is of one or two features"


MODEL_CHECKS = (unknown_model, unfit_model, strange_output)
MODEL_WARNINGS = (idle_mc_dropout, idle_outputs)
