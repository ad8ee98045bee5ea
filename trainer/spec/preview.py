"""What a picture grid of augmented training images shows."""

from typing import Annotated

from pydantic import Field

from trainer.spec.augmentation import AugmentationSpec
from trainer.spec.part import Part, Seed


class Preview(Part):
    """A row for each image: as it is, then augmented again and again, as in training."""

    augmentation: Annotated[tuple[AugmentationSpec, ...], Field(max_length=32)] = ()
    image_size: Annotated[
        int | None, Field(strict=True, ge=4, le=1024, description="as in the dataset of a spec")
    ] = None
    binarize: Annotated[
        float | None, Field(strict=True, gt=0, lt=1, description="as in the dataset of a spec")
    ] = None
    images: Annotated[int, Field(strict=True, ge=1, le=16, description="rows")] = 6
    draws: Annotated[int, Field(strict=True, ge=1, le=16, description="augmented ones a row")] = 7
    seed: Seed = 0


#: A picture shows no more classes than this.
MOST_CLASSES = 200


class ClassPictures(Part):
    """A row of training images for each class."""

    images: Annotated[int, Field(strict=True, ge=1, le=16, description="images of each class")] = 8
    pixels: Annotated[
        int, Field(strict=True, ge=8, le=256, description="the longer side of an image as shown")
    ] = 64
    names: Annotated[
        bool, Field(description="write each class's name and count beside its row; false: no gaps")
    ] = True
