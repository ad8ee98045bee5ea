"""Models, their norms, what acts on their weights, and how they start."""

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from trainer.spec.part import Count, Part, Positive

Activation: TypeAlias = Literal["relu", "gelu", "sigmoid", "tanh"]


class Mlp(Part):
    """Fully connected: for each hidden width linear → norm → activation, then a linear classifier."""

    name: Literal["mlp"]
    hidden: Annotated[tuple[Count, ...], Field(min_length=1, max_length=64)] = (100, 100, 100)
    activation: Activation = "relu"


class Cnn(Part):
    """Three 3×3 convolutions of width, 2·width, 4·width, each with norm and activation; 2×2 pooling after
    the first two; global average; linear classifier."""

    name: Literal["cnn"]
    width: Annotated[int, Field(strict=True, ge=1, le=1024)] = 32
    activation: Activation = "relu"


class ResNet20(Part):
    """CIFAR-style residual network of 20 layers (He et al. 2016, §4.2)."""

    name: Literal["resnet20"]
    width: Annotated[int, Field(strict=True, ge=1, le=1024)] = 16


class LibraryModel(Part):
    """A model of torchvision or timm, randomly initialised; classes and input channels adapted."""

    name: Annotated[str, Field(pattern=r"^(torchvision|timm):[A-Za-z0-9_.]{1,100}$")]

    @property
    def library(self) -> str:
        return self.name.split(":", 1)[0]

    @property
    def entry(self) -> str:
        return self.name.split(":", 1)[1]


def _model_tag(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    if not isinstance(name, str):
        return None
    return "library" if name.startswith(("torchvision:", "timm:")) else name


ModelSpec: TypeAlias = Annotated[
    Annotated[Mlp, Tag("mlp")]
    | Annotated[Cnn, Tag("cnn")]
    | Annotated[ResNet20, Tag("resnet20")]
    | Annotated[LibraryModel, Tag("library")],
    Discriminator(
        _model_tag,
        custom_error_type="unknown_model",
        custom_error_message="name must be one of mlp, cnn, resnet20, torchvision:<name>, timm:<name>",
    ),
]


Epsilon: TypeAlias = Annotated[float, Field(strict=True, gt=0, le=0.1)]


class NoNorm(Part):
    """No normalization: the layer before gets a zero-initialised bias in its place."""

    kind: Literal["none"]


class BatchNorm(Part):
    """Statistics over N, H, W per channel (Ioffe & Szegedy 2015)."""

    kind: Literal["batch"]
    eps: Epsilon = 1e-5
    momentum: Annotated[
        float, Field(strict=True, gt=0, le=1, description="weight of the new batch's statistics")
    ] = 0.1


class LayerNorm(Part):
    """Statistics over C, H, W per sample, one gain and bias per channel (Ba et al. 2016)."""

    kind: Literal["layer"]
    eps: Epsilon = 1e-5


class InstanceNorm(Part):
    """Statistics over H, W per sample and channel, affine (Ulyanov et al. 2016)."""

    kind: Literal["instance"]
    eps: Epsilon = 1e-5


class GroupNorm(Part):
    """Statistics over C/G, H, W per sample and group (Wu & He 2018); give groups or channels_per_group."""

    kind: Literal["group"]
    groups: Count | None = None
    channels_per_group: Count | None = None
    eps: Epsilon = 1e-5

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.groups is None) == (self.channels_per_group is None):
            raise ValueError("give exactly one of groups and channels_per_group")
        return self


NormSpec: TypeAlias = Annotated[
    NoNorm | BatchNorm | LayerNorm | InstanceNorm | GroupNorm, Field(discriminator="kind")
]


class PlainWeights(Part):
    """Weights as the layer has them."""

    kind: Literal["plain"]


WeightsSpec: TypeAlias = PlainWeights


class DefaultInit(Part):
    """As each layer initialises itself."""

    kind: Literal["default"]


class NormalInit(Part):
    """Weights of linear and convolution layers from N(0, std²), their biases zero."""

    kind: Literal["normal"]
    std: Positive


InitSpec: TypeAlias = Annotated[DefaultInit | NormalInit, Field(discriminator="kind")]
