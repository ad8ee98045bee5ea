"""Checks of a spec about its model alone: known, fit for the images, of the right output."""

from collections.abc import Iterator

import torch

from trainer.case import Case
from trainer.errors import ModelError
from trainer.models import build_bare_model, input_shape
from trainer.sites import run_on_meta
from trainer.spec.report import Problem

#: Image sizes that are tried for a remedy.
_SIZES = (8, 16, 32, 64, 96, 128, 224, 256, 299, 384)


def unknown_model(case: Case) -> Iterator[Problem]:
    if (error := case.unknown) is not None:
        yield Problem(pointer=error.pointer, detail=str(error), remedy=error.remedy)


def unfit_model(case: Case) -> Iterator[Problem]:
    """It cannot be built for these images, or breaks on them; or dropout has no place in it."""
    if (error := case.unfit) is None:
        return
    remedy = error.remedy
    if error.pointer == "/model/name" and (size := _working_size(case)) is not None:
        remedy = f"dataset.image_size: {size}, or another model"
    yield Problem(pointer=error.pointer, layer=error.layer, detail=str(error), remedy=remedy)


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
    classes = len(case.info.classes)
    if case.survey is not None and case.survey.output_shape[1:] != (classes,):
        yield Problem(
            pointer="/model/name",
            detail=f"the model gives outputs of shape {case.survey.output_shape[1:]} per image "
            f"but {classes} logits are needed",
            remedy="another model",
        )


MODEL_CHECKS = (unknown_model, unfit_model, strange_output)
