"""Regularizers and augmentations."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from trainer.spec.part import Fraction, NotNegative, Part


class WeightDecay(Part):
    """The optimizer's weight decay: coupled in sgd and adam, decoupled in adamw."""

    kind: Literal["weight_decay"]
    value: NotNegative
    parameters: Annotated[
        Literal["weights", "all"], Field(description="weights: norm and bias parameters excluded")
    ] = "weights"


class L1(Part):
    """Adds `value * Σ|w|` over the weights (no norm or bias parameters) to the loss."""

    kind: Literal["l1"]
    value: NotNegative


class L2(Part):
    """Adds `value / 2 * Σw²` over the weights (no norm or bias parameters) to the loss."""

    kind: Literal["l2"]
    value: NotNegative


class Dropout(Part):
    """Inverted dropout (Srivastava et al. 2014); p is the share *dropped*, as in torch."""

    kind: Literal["dropout"]
    p: Fraction
    where: Annotated[
        Literal["hidden", "head"],
        Field(
            description="hidden: after every hidden activation (in library models: their own dropout "
            "layers); head: before the classifier"
        ),
    ] = "hidden"


RegularizerSpec: TypeAlias = Annotated[WeightDecay | L1 | L2 | Dropout, Field(discriminator="kind")]


class Rotate(Part):
    """Rotation by an angle drawn from ±degrees."""

    kind: Literal["rotate"]
    degrees: Annotated[float, Field(strict=True, gt=0, le=180)]


class Flip(Part):
    """Mirroring with probability p."""

    kind: Literal["flip"]
    axis: Literal["horizontal", "vertical"] = "horizontal"
    p: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.5


class Scale(Part):
    """Zoom by a factor drawn from [low, high]."""

    kind: Literal["scale"]
    low: Annotated[float, Field(strict=True, gt=0, le=10)] = 0.9
    high: Annotated[float, Field(strict=True, gt=0, le=10)] = 1.1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low cannot exceed high but got {self.low} > {self.high}")
        return self


class Translate(Part):
    """Shift by a distance drawn from ±fraction of the image's size, in both directions."""

    kind: Literal["shift"]
    fraction: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.1


class Contrast(Part):
    """Distance to the image's mean times a factor drawn from [1 - amount, 1 + amount]."""

    kind: Literal["contrast"]
    amount: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.2


class Brightness(Part):
    """Adds a number drawn from ±amount, in units of the full [0, 1] range."""

    kind: Literal["brightness"]
    amount: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.2


AugmentationSpec: TypeAlias = Annotated[
    Rotate | Flip | Scale | Translate | Contrast | Brightness, Field(discriminator="kind")
]
