"""Augmentations: what is done to training images, drawn anew for each."""

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from trainer.spec.part import Count, Part

Probability: TypeAlias = Annotated[float, Field(strict=True, gt=0, le=1)]


class Rotate(Part):
    """Rotation by an angle drawn from ±degrees."""

    kind: Literal["rotate"]
    degrees: Annotated[float, Field(strict=True, gt=0, le=180)]
    pitfalls: ClassVar[tuple[str, ...]] = ("beyond 90° a 6 is a 9",)


class Flip(Part):
    """Mirroring with probability p."""

    kind: Literal["flip"]
    axis: Literal["horizontal", "vertical"] = "horizontal"
    p: Probability = 0.5
    pitfalls: ClassVar[tuple[str, ...]] = ("turns digits and letters into other signs",)


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
    amount: Probability = 0.2


class Brightness(Part):
    """Adds a number drawn from ±amount, in units of the full [0, 1] range."""

    kind: Literal["brightness"]
    amount: Probability = 0.2


class PaddedCrop(Part):
    """Pads all four sides, then cuts a window of the old size at a place drawn evenly (He et al. 2016,
    §4.2)."""

    kind: Literal["padded_crop"]
    padding: Annotated[Count, Field(le=512, description="pixels")] = 4
    fill: Literal["black", "reflect"] = "black"


class RandAugment(Part):
    """`operations` of fourteen, drawn with repetition, each at the same magnitude (Cubuk et al. 2020,
    arXiv 1909.13719). Drawn per image."""

    kind: Literal["rand_augment"]
    operations: Annotated[int, Field(strict=True, ge=1, le=14)] = 2
    magnitude: Annotated[int, Field(strict=True, ge=0, le=30, description="of 30")] = 9
    pitfalls: ClassVar[tuple[str, ...]] = (
        "at magnitude 0 some of the fourteen still act: autocontrast and equalize have none",
    )


class TrivialAugment(Part):
    """One operation at a magnitude drawn evenly, the wide set (Müller & Hutter 2021, arXiv 2103.10158).
    Drawn per image."""

    kind: Literal["trivial_augment"]


class RandomErasing(Part):
    """With probability p a rectangle of a drawn area and shape becomes black (Zhong et al. 2020, arXiv
    1708.04896)."""

    kind: Literal["random_erasing"]
    p: Probability = 0.5
    low: Annotated[float, Field(strict=True, gt=0, lt=1, description="share of the area")] = 0.02
    high: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.33

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low cannot exceed high but got {self.low} > {self.high}")
        return self


AugmentationSpec: TypeAlias = Annotated[
    Rotate
    | Flip
    | Scale
    | Translate
    | Contrast
    | Brightness
    | PaddedCrop
    | RandAugment
    | TrivialAugment
    | RandomErasing,
    Field(discriminator="kind"),
]
