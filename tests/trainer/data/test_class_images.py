"""The picture of a dataset: a row of training images for each class, with its name and count."""

import io
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from tests.support.trainer_specs import make_info
from trainer.data.class_images import draw_classes
from trainer.errors import DataError
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetInfo
from trainer.spec.preview import MOST_CLASSES, ClassPictures


def write_set(folder: Path, images: numpy.ndarray, labels: list[int], classes: int) -> DatasetInfo:
    """A decoded dataset as the cache holds it."""
    info = make_info(
        name="set",
        digest="d",
        shape=images.shape[1:],
        classes=tuple(f"class {number}" for number in range(classes)),
        train_size=len(labels),
        mean=(0.5,) * images.shape[1],
        std=(0.25,) * images.shape[1],
    )
    (folder / "d").mkdir()
    numpy.save(folder / "d" / "train-images.npy", images)
    numpy.save(folder / "d" / "train-labels.npy", numpy.array(labels, dtype=numpy.int64))
    return info


def picture(info: DatasetInfo, folder: Path, **options: Any) -> numpy.ndarray:
    content = draw_classes(ClassPictures.model_validate(options), info, folder)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return numpy.asarray(image)


def test_each_row_holds_images_of_its_class_spread_over_all_of_them(tmp_path):
    labels = [0, 1, 0, 1, 0, 1, 1]
    images = numpy.arange(7, dtype=numpy.uint8)[:, None, None, None] * numpy.ones((1, 1, 8, 8))
    info = write_set(tmp_path, images.astype(numpy.uint8), labels, 2)
    sheet = picture(info, tmp_path, images=3, pixels=16, names=False)
    assert sheet.shape == (32, 48, 3)
    # The first, the middle and the last; of four the middle is the third.
    assert sheet[::16, ::16, 0].tolist() == [[0, 2, 4], [1, 5, 6]]


def test_an_image_is_enlarged_by_whole_factors_and_made_smaller_in_proportion(tmp_path):
    images = numpy.zeros((2, 3, 40, 20), dtype=numpy.uint8)
    images[:, :, :20] = 255
    info = write_set(tmp_path, images, [0, 1], 2)
    assert picture(info, tmp_path, images=1, pixels=100, names=False).shape == (160, 40, 3)
    small = picture(info, tmp_path, images=1, pixels=20, names=False)
    assert small.shape == (40, 10, 3)
    assert (small[5] == 255).all()
    assert (small[15] == 0).all()


def test_a_row_says_its_class_and_how_many_examples_it_has(tmp_path):
    images = numpy.full((5, 1, 8, 8), 255, dtype=numpy.uint8)
    info = write_set(tmp_path, images, [0, 0, 0, 1, 1], 2)
    sheet = picture(info, tmp_path)
    other = info.model_copy(update={"classes": ("class 0", "another name")})
    top, bottom = sheet[4:68], sheet[72:136]
    # White images on a white sheet: what is dark is writing.
    assert (top < 128).any()
    assert (bottom < 128).any()
    assert not numpy.array_equal(sheet, picture(other, tmp_path))


def test_of_very_many_classes_the_first_are_shown_and_the_rest_counted(tmp_path):
    classes = MOST_CLASSES + 5
    images = numpy.zeros((classes, 1, 4, 4), dtype=numpy.uint8)
    info = write_set(tmp_path, images, list(range(classes)), classes)
    plain = picture(info, tmp_path, images=1, pixels=8, names=False)
    assert plain.shape == (MOST_CLASSES * 8, 8, 3)
    named = picture(info, tmp_path, images=1, pixels=8)
    assert (named[4 + MOST_CLASSES * 36 :] < 200).any()


def test_of_vectors_there_is_no_picture_and_of_what_is_not_decoded_neither(tmp_path):
    with pytest.raises(DataError, match="moons has vectors"):
        draw_classes(ClassPictures(), BUILT_IN["moons"], tmp_path)
    with pytest.raises(DataError, match="'elsewhere' is not decoded"):
        draw_classes(ClassPictures(), make_info(name="elsewhere", digest="e"), tmp_path)
