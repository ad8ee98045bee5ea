"""Models and how they start."""

import operator
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from trainer.spec.part import Count, Part, PluginWithOptions, Positive

Activation: TypeAlias = Literal["relu", "gelu", "sigmoid", "tanh"]
Width: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=4096)]


class Mlp(Part):
    """Fully connected: for each hidden width linear → norm → activation, then a linear output."""

    name: Literal["mlp"]
    hidden: Annotated[tuple[Count, ...], Field(min_length=1, max_length=64)] = (100, 100, 100)
    activation: Activation = "relu"


class Cnn(Part):
    """Three 3×3 convolutions of width, 2·width, 4·width, each with norm and activation; 2×2 pooling after
    the first two; global average; linear output."""

    name: Literal["cnn"]
    width: Annotated[int, Field(strict=True, ge=1, le=1024)] = 32
    activation: Activation = "relu"


class ResNet20(Part):
    """CIFAR-style residual network of 20 layers (He et al. 2016, §4.2)."""

    name: Literal["resnet20"]
    width: Annotated[int, Field(strict=True, ge=1, le=1024)] = 16
    # Left out of documents at its default, as in the documents from before it was there.
    skip_init: Annotated[
        bool,
        Field(
            exclude_if=operator.not_,
            description="each residual branch times a trained number that begins at zero (De & Smith 2020, arXiv "
            "2002.10444): deep networks train without a norm",
        ),
    ] = False


class AlexNetSmall(Part):
    """AlexNet for small images: five convolutions, norms behind the activations of the first two as in
    the paper, pooling, two hidden linear layers (Krizhevsky et al. 2012, §3.5)."""

    name: Literal["alexnet_small"]
    width: Annotated[int, Field(strict=True, ge=1, le=1024, description="of the first")] = 32
    activation: Activation = "relu"


class InceptionSmall(Part):
    """A stem and inception modules of four branches, norm before every activation, global average,
    linear output (after Szegedy et al. 2015 and Ioffe & Szegedy 2015)."""

    name: Literal["inception_small"]
    width: Annotated[int, Field(strict=True, ge=4, le=1024, description="of the stem")] = 16
    activation: Activation = "relu"


class VitSmall(Part):
    """Vision transformer: patches, learned positions, blocks that normalize first, mean of the tokens,
    linear output (Dosovitskiy et al. 2021)."""

    name: Literal["vit_small"]
    patch: Annotated[int, Field(strict=True, ge=1, le=64, description="pixels")] = 4
    width: Annotated[int, Field(strict=True, ge=2, le=1024, description="of a token")] = 64
    depth: Annotated[int, Field(strict=True, ge=1, le=48)] = 4
    heads: Annotated[int, Field(strict=True, ge=1, le=64)] = 4

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width but got {self.heads} and {self.width}")
        return self


class Autoencoder(Part):
    """One hidden layer: linear → norm → activation, then a linear output as large as the image
    (Srivastava et al. 2014, §7.1)."""

    name: Literal["autoencoder"]
    hidden: Width = 256
    activation: Activation = "relu"


class Polynomial(Part):
    """`Σ w_i x^i` up to the degree, of one feature: a linear layer on its powers."""

    name: Literal["polynomial"]
    degree: Annotated[int, Field(strict=True, ge=1, le=30)] = 4
    pitfalls: ClassVar[tuple[str, ...]] = (
        "gradient descent does not reach the overfit of a high degree: powers of x are nearly "
        "collinear",
    )


#: The names of Normlab's own models.
OWN_MODELS = (
    "mlp",
    "cnn",
    "resnet20",
    "alexnet_small",
    "inception_small",
    "vit_small",
    "autoencoder",
    "polynomial",
)


class LibraryModel(Part):
    """A model of torchvision or timm, randomly initialised; classes and input channels adapted."""

    name: Annotated[str, Field(pattern=r"^(torchvision|timm):[A-Za-z0-9_.]{1,100}$")]

    @property
    def library(self) -> str:
        return self.name.split(":", 1)[0]

    @property
    def entry(self) -> str:
        return self.name.split(":", 1)[1]


class PluginModel(PluginWithOptions):
    """A model of a package of the installation's own, which its settings name: a function that gives a module."""


def _model_tag(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    if not isinstance(name, str):
        return None
    if name.startswith("plugin:"):
        return "plugin"
    return "library" if name.startswith(("torchvision:", "timm:")) else name


ModelSpec: TypeAlias = Annotated[
    Annotated[Mlp, Tag("mlp")]
    | Annotated[Cnn, Tag("cnn")]
    | Annotated[ResNet20, Tag("resnet20")]
    | Annotated[AlexNetSmall, Tag("alexnet_small")]
    | Annotated[InceptionSmall, Tag("inception_small")]
    | Annotated[VitSmall, Tag("vit_small")]
    | Annotated[Autoencoder, Tag("autoencoder")]
    | Annotated[Polynomial, Tag("polynomial")]
    | Annotated[LibraryModel, Tag("library")]
    | Annotated[PluginModel, Tag("plugin")],
    Discriminator(
        _model_tag,
        custom_error_type="unknown_model",
        custom_error_message=f"one of {', '.join(OWN_MODELS)}, torchvision:<name>, timm:<name>, plugin:<name>",
    ),
]


class DefaultInit(Part):
    """As each layer initialises itself."""

    kind: Literal["default"]


class NormalInit(Part):
    """Weights of linear and convolution layers from N(0, std²), their biases zero."""

    kind: Literal["normal"]
    std: Positive


InitSpec: TypeAlias = Annotated[DefaultInit | NormalInit, Field(discriminator="kind")]


class InitFrom(Part):
    """The weights of another job's checkpoint to begin from: fine-tuning. All else begins anew: optimizer, schedule,
    averages."""

    job: Annotated[int, Field(strict=True, ge=1, le=2**53, description="one that has succeeded")]
    checkpoint: Annotated[
        Literal["best", "last"],
        Field(description="best: on validation, with averaged weights where there are any"),
    ] = "best"
    reset_head: Annotated[
        bool, Field(description="the last layer begins as without this, as for other classes")
    ] = False
    digest: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{32}$",
            description="of the checkpoint's file; filled in when the job is submitted",
        ),
    ] = None
