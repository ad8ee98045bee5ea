"""Which modules are norm layers, of torch and the libraries, where they have their channels, and which
are activations or layers with weights."""

from typing import Literal

from torch import nn

Layout = Literal["channels_first", "channels_last"]

# By the class whose `forward` runs: a subclass with a forward of its own is not known.
_KNOWN: dict[str, Layout] = {
    "torch.nn.modules.batchnorm._BatchNorm": "channels_first",
    "torch.nn.modules.batchnorm.SyncBatchNorm": "channels_first",
    "torch.nn.modules.instancenorm._InstanceNorm": "channels_first",
    "torch.nn.modules.normalization.GroupNorm": "channels_first",
    "torch.nn.modules.normalization.LayerNorm": "channels_last",
    "torch.nn.modules.normalization.RMSNorm": "channels_last",
    "trainer.layers.channels_last.ExactBatchNorm": "channels_first",
    "trainer.layers.channels_last.GroupNorm": "channels_first",
    "torchvision.ops.misc.FrozenBatchNorm2d": "channels_first",
    "torchvision.models.convnext.LayerNorm2d": "channels_first",
}
_TIMM_MODULES = ("timm.layers.norm", "timm.layers.norm_act")
_TIMM_CHANNELS_LAST = ("LayerNorm", "RmsNorm", "SimpleNorm")


def norm_layout(module: nn.Module) -> Layout | None:
    """Where this norm layer has its channels; None for everything that is no known norm layer."""
    owner = next(cls for cls in type(module).__mro__ if "forward" in vars(cls))
    if owner.__module__ in _TIMM_MODULES:
        last = owner.__name__.startswith(_TIMM_CHANNELS_LAST) and "2d" not in owner.__name__
        return "channels_last" if last else "channels_first"
    return _KNOWN.get(f"{owner.__module__}.{owner.__qualname__}")


def is_called_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


#: Of one argument, elementwise, in torch and timm.
_ACTIVATIONS = frozenset(
    {"ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "SiLU", "Swish", "Mish"}
    | {"HardMish", "GELU", "GELUTanh", "QuickGELU", "Hardswish", "HardSwish", "Softplus"}
    | {"Tanh", "Sigmoid", "Hardsigmoid", "HardSigmoid"}
)


def is_activation(module: nn.Module) -> bool:
    return type(module).__name__ in _ACTIVATIONS


def own_standardization(
    module: nn.Module,
) -> Literal["standardization", "scaled_standardization"] | None:
    """What a convolution of timm does to its weights at every call, in the words of `weights`."""
    if type(module).__module__ != "timm.layers.std_conv":
        return None
    is_scaled = type(module).__name__.startswith("Scaled")
    return "scaled_standardization" if is_scaled else "standardization"


def has_weights(module: nn.Module) -> bool:
    """A linear layer or a convolution; norms have gains."""
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
