"""The picture of a preview: a PNG of the images that training would see, in rows."""

import io
from typing import Any

import numpy
import pytest
from PIL import Image

from trainer.data.augmentation.preview import draw_preview
from trainer.data.loading import load
from trainer.errors import DataError
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetSpec
from trainer.spec.preview import Preview

DIGITS = BUILT_IN["digits"]


def picture(folder: Any, **options: Any) -> numpy.ndarray:
    content = draw_preview(Preview.model_validate(options), DIGITS, folder)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return numpy.asarray(image)


def cells(sheet: numpy.ndarray, rows: int, columns: int) -> list[list[numpy.ndarray]]:
    """Digits of 8 pixels are shown eight times as large, four pixels apart; the first column eight."""
    return [
        [
            sheet[4 + 68 * r : 68 + 68 * r, 4 + 68 * c + 4 * (c > 0) :][:, :64][::8, ::8]
            for c in range(columns)
        ]
        for r in range(rows)
    ]


def test_without_augmentation_every_column_is_the_image_itself(tmp_path):
    sheet = picture(tmp_path, images=2, draws=3)
    for row in cells(sheet, 2, 4):
        assert row[0].any()
        assert all(numpy.array_equal(one, row[0]) for one in row)


def test_rows_are_images_of_the_training_split_and_draws_differ(tmp_path):
    rotate = [{"kind": "rotate", "degrees": 30.0}]
    grid = cells(picture(tmp_path, images=3, draws=4, augmentation=rotate), 3, 5)
    train = load(DatasetSpec(name="digits"), DIGITS, tmp_path).train.images.numpy()[:, 0]
    for row in grid:
        assert (train == row[0]).all((1, 2)).any()
        assert len({one.tobytes() for one in row}) == 5


def test_equal_seeds_draw_equally(tmp_path):
    options = {"augmentation": [{"kind": "rand_augment"}], "images": 2, "draws": 2}
    first, again, other = (picture(tmp_path, **options, seed=seed) for seed in (1, 1, 2))
    assert numpy.array_equal(first, again)
    assert not numpy.array_equal(first, other)


def test_images_are_resized_and_binarized_as_in_a_spec(tmp_path):
    assert set(numpy.unique(picture(tmp_path, binarize=0.5, images=4))) == {0, 255}
    assert picture(tmp_path, image_size=80, images=1, draws=1).shape == (88, 4 + 80 + 8 + 80 + 4)


def test_vectors_have_no_picture(tmp_path):
    with pytest.raises(DataError, match="moons has vectors"):
        draw_preview(Preview(), BUILT_IN["moons"], tmp_path)
