"""What tests over many models and norms would do again and again, the building of a library's model, is done once."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

import trainer.models.build
from trainer.models.cnn_mlp_resnet import Shape
from trainer.models.library import build_library_model
from trainer.spec.model import LibraryModel


@contextmanager
def built_once() -> Iterator[None]:
    """Inside, a library's model of the same seed and size as the last ones is a copy, bit for bit, and leaves the
    generator where building it does. Most of a build is random numbers for millions of weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.models.build, "build_library_model", _copy_of_build)
        yield


def _copy_of_build(spec: LibraryModel, shape: Shape, classes: int) -> nn.Module:
    device = torch.get_default_device().type
    model, generator = _build(spec, shape, classes, device, torch.initial_seed())
    torch.set_rng_state(generator)
    return copy.deepcopy(model)


# Large models have a few hundred megabytes, so only the last ones are kept.
@lru_cache(maxsize=2)
def _build(
    spec: LibraryModel, shape: Shape, classes: int, device: str, seed: int
) -> tuple[nn.Module, Tensor]:
    return build_library_model(spec, shape, classes), torch.get_rng_state()
