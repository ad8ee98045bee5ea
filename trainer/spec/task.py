"""What a model learns: which loss its outputs are judged by."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from trainer.spec.part import Part


class Classification(Part):
    """One class per example: cross-entropy of the logits, and accuracy."""

    kind: Literal["classification"]


class Regression(Part):
    """A number per example: mean squared error. Has no accuracy."""

    kind: Literal["regression"]


class Reconstruction(Part):
    """The image itself, from its own pixels in [0, 1]: binary cross-entropy of the logits, or squared
    error, summed over the pixels. Has no accuracy; labels are not looked at."""

    kind: Literal["reconstruction"]
    loss: Literal["bce", "mse"] = "bce"
    pitfalls: ClassVar[tuple[str, ...]] = (
        "losses are sums over pixels: larger images have larger ones",
    )


TaskSpec: TypeAlias = Annotated[
    Classification | Regression | Reconstruction, Field(discriminator="kind")
]
