"""From a spec to a model: built, initialised, given its norms and its dropout. Knows no training."""

from typing import assert_never

from torch import nn

from trainer.errors import ModelError
from trainer.library import build_library_model
from trainer.networks import DropoutLinear, Shape, build_cnn, build_mlp, build_resnet20
from trainer.sites import survey_norms
from trainer.spec import (
    Cnn,
    DatasetInfo,
    DefaultInit,
    Dropout,
    InitSpec,
    JobSpec,
    LibraryModel,
    Mlp,
    NormalInit,
    ResNet20,
)
from trainer.streams import seeded
from trainer.surgery import SurgeryReport, replace_norms


def build_model(spec: JobSpec, info: DatasetInfo) -> nn.Module:
    """Standardized floats N, C, H, W → logits N, K. Works under `torch.device("meta")` too.

    Every variant draws the same numbers from the `init` stream, so layers that two variants share
    start bit-equal. Raises ModelError or SurgeryError with the field, the layer and a remedy.
    """
    return build_with_report(spec, info)[0]


def build_with_report(spec: JobSpec, info: DatasetInfo) -> tuple[nn.Module, SurgeryReport]:
    """The model, and what the surgery did to it."""
    model = build_bare_model(spec, info)
    report = replace_norms(model, spec.norm, input_shape(spec, info))
    return model, report


def input_shape(spec: JobSpec, info: DatasetInfo) -> Shape:
    """Channels, height and width of what the model is given."""
    size = spec.dataset.image_size
    return info.shape if size is None else (info.shape[0], size, size)


def build_bare_model(spec: JobSpec, info: DatasetInfo) -> nn.Module:
    """With the norms that the model itself has, and with the spec's dropout."""
    shape, classes = input_shape(spec, info), len(info.classes)
    dropout = spec.regularizer(Dropout)
    hidden_p = dropout.p if dropout is not None and dropout.where == "hidden" else 0.0
    head_p = dropout.p if dropout is not None and dropout.where == "head" else 0.0
    with seeded("init", spec.seed):
        match spec.model:
            case Mlp():
                model = build_mlp(spec.model, shape, classes, hidden_p, head_p)
            case Cnn():
                model = build_cnn(spec.model, shape, classes, hidden_p, head_p)
            case ResNet20():
                model = build_resnet20(spec.model, shape, classes, hidden_p, head_p)
            case LibraryModel():
                model = build_library_model(spec.model, shape, classes)
            case _:
                assert_never(spec.model)
        initialise(model, spec.init)
    if isinstance(spec.model, LibraryModel) and dropout is not None:
        pointer = f"/regularization/{spec.regularization.index(dropout)}/where"
        _place_dropout(model, spec.model, dropout, shape, pointer)
    return model


def initialise(model: nn.Module, init: InitSpec) -> None:
    """Draws from the global generator, layer by layer in the order of `modules()`."""
    match init:
        case DefaultInit():
            pass
        case NormalInit():
            for module in model.modules():
                for name, parameter in module.named_parameters(recurse=False):
                    _initialise_normal(module, name, parameter, init.std)
        case _:
            assert_never(init)


def _initialise_normal(module: nn.Module, name: str, parameter: nn.Parameter, std: float) -> None:
    # Attention keeps the weights of its linear layers as parameters of its own.
    linear = isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.MultiheadAttention)
    if linear and name.endswith("weight"):
        nn.init.normal_(parameter, 0.0, std)
    elif linear and name.endswith("bias"):
        nn.init.zeros_(parameter)


def _place_dropout(
    model: nn.Module, spec: LibraryModel, dropout: Dropout, shape: Shape, pointer: str
) -> None:
    """In a library's model: its own dropout layers, or one before its last linear layer."""
    if dropout.where == "hidden":
        layers = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
        if not layers:
            raise ModelError(
                f"{spec.name} has no dropout layers to set p on",
                "where: head",
                pointer=pointer,
            )
        for own in layers:
            own.p = dropout.p
        return
    name = survey_norms(model, shape).classifier
    if name is None:
        raise ModelError(
            f"{spec.name} does not end in a linear layer, so there is no place before it",
            "where: hidden, if the model has dropout layers",
            pointer=pointer,
        )
    parent, _, child = name.rpartition(".")
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    setattr(model.get_submodule(parent), child, DropoutLinear(layer, dropout.p))


def count_parameters(model: nn.Module) -> int:
    """Trained parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
