"""From a spec to a model: built, initialised, given its norms and its dropout."""

from dataclasses import replace
from typing import assert_never

from torch import nn

from trainer.models.alexnet_inception import build_alexnet_small, build_inception_small
from trainer.models.autoencoder_polynomial import build_autoencoder, build_polynomial
from trainer.models.cnn_mlp_resnet import Shape, build_cnn, build_mlp, build_resnet20
from trainer.models.library import build_library_model
from trainer.models.plugin import build_plugin_model
from trainer.models.vit import build_vit_small
from trainer.random_streams import seeded
from trainer.spec import (
    AlexNetSmall,
    Autoencoder,
    Cnn,
    DatasetInfo,
    DefaultInit,
    InceptionSmall,
    InitSpec,
    JobSpec,
    LibraryModel,
    Mlp,
    ModelSpec,
    NormalInit,
    PluginModel,
    Polynomial,
    Regression,
    ResNet20,
    VitSmall,
)
from trainer.surgery import SurgeryReport, Survey, apply_weights, place_dropout, replace_norms


def build_model(spec: JobSpec, info: DatasetInfo) -> nn.Module:
    """Standardized floats N, C, H, W → logits N, K. Works under `torch.device("meta")` too.

    Every variant draws the same numbers from the `init` stream, so layers that two variants share
    start bit-equal. Raises ModelError or SurgeryError with the field, the layer and a remedy.
    """
    return build_with_report(spec, info)[0]


def build_with_report(
    spec: JobSpec, info: DatasetInfo, survey: Survey | None = None
) -> tuple[nn.Module, SurgeryReport]:
    """The model, and what the surgery did to it; notes also of what drops and acts on weights. `survey`
    is that of the bare model, where there is one."""
    model, dropping = _build_dropping(spec, info)
    report = replace_norms(model, spec.norm, input_shape(spec, info), survey)
    weights = apply_weights(model, spec)
    return model, replace(report, notes=(*dropping, *report.notes, *weights))


def input_shape(spec: JobSpec, info: DatasetInfo) -> Shape:
    """Channels, height and width of what the model is given."""
    size = spec.dataset.image_size
    return info.shape if size is None else (info.shape[0], size, size)


def build_bare_model(spec: JobSpec, info: DatasetInfo) -> nn.Module:
    """With the norms that the model itself has, and with what the spec drops."""
    return _build_dropping(spec, info)[0]


def _build_dropping(spec: JobSpec, info: DatasetInfo) -> tuple[nn.Module, tuple[str, ...]]:
    shape = input_shape(spec, info)
    with seeded("init", spec.seed):
        model = _build(spec.model, shape, output_size(spec, info))
        initialise(model, spec.init)
    return model, place_dropout(model, spec, shape)


def _build(spec: ModelSpec, shape: Shape, outputs: int) -> nn.Module:
    match spec:
        case Mlp():
            return build_mlp(spec, shape, outputs)
        case Cnn():
            return build_cnn(spec, shape, outputs)
        case ResNet20():
            return build_resnet20(spec, shape, outputs)
        case AlexNetSmall():
            return build_alexnet_small(spec, shape, outputs)
        case InceptionSmall():
            return build_inception_small(spec, shape, outputs)
        case VitSmall():
            return build_vit_small(spec, shape, outputs)
        case Autoencoder():
            return build_autoencoder(spec, shape)
        case Polynomial():
            return build_polynomial(spec, shape)
        case LibraryModel():
            return build_library_model(spec, shape, outputs)
        case PluginModel():
            return build_plugin_model(spec, shape, outputs)
        case _:
            assert_never(spec)


def output_size(spec: JobSpec, info: DatasetInfo) -> int:
    """Numbers per example that the task needs; an autoencoder gives as many as it gets by itself."""
    return 1 if isinstance(spec.task, Regression) else max(len(info.classes), 1)


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


def count_parameters(model: nn.Module) -> int:
    """Trained parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
