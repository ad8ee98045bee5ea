"""Loading: what reaches the training from a decoded set and a dataset spec."""

import shutil

import numpy
import pytest
import torch
from sklearn.datasets import load_digits

from tests.support.trainer_specs import DIGITS, make_info
from trainer.data.decoding import decode
from trainer.data.loading import apply_shift, load
from trainer.data.sources.find import open_source
from trainer.data.splits import split_sizes
from trainer.errors import DataError
from trainer.spec.dataset import BuiltIn, DatasetSpec, Shift


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    for _ in decode("digits", BuiltIn(kind="builtin"), folder, ()):
        pass
    return folder


def test_the_built_in_digits_are_what_the_spec_package_says(tmp_path):
    steps = decode("digits", BuiltIn(kind="builtin"), tmp_path, ())
    found = None
    while found is None:
        try:
            next(steps)
        except StopIteration as end:
            found = end.value
    assert found == DIGITS


def test_digits_are_those_of_scikit_learn():
    parts = open_source("digits", BuiltIn(kind="builtin"), ()).parts
    images, labels = load_digits(return_X_y=True)
    pixels = numpy.stack(list(parts["train"].images()))
    assert numpy.array_equal(pixels.reshape(-1, 64), numpy.rint(images * (255 / 16)))
    assert numpy.array_equal(parts["train"].labels, labels)


def test_digits_are_decoded_on_demand_and_cut_in_three(tmp_path):
    data = load(DatasetSpec(name="digits"), DIGITS, tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (1150, 288, 359)
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.shape == (1150, 1, 8, 8)
    assert data.train.labels.dtype == torch.int64
    assert int(data.train.images.max()) == 255


@pytest.mark.parametrize(
    "options",
    [{}, {"train_size": 100}, {"val_fraction": 0.35}, {"split_seed": 3}, {"image_size": 12}],
)
def test_sizes_are_as_the_check_computes_them(folder, options):
    spec = DatasetSpec(name="digits", **options)
    data, sizes = load(spec, DIGITS, folder), split_sizes(spec, DIGITS)
    assert (len(data.train), len(data.val), len(data.test)) == (sizes.train, sizes.val, sizes.test)


def test_the_info_describes_the_training_split_after_its_preparation(folder):
    data = load(DatasetSpec(name="digits", image_size=16, train_size=300), DIGITS, folder)
    pixels = data.train.images.double() / 255
    assert data.info.shape == (1, 16, 16)
    assert data.info.mean[0] == pytest.approx(float(pixels.mean()), abs=1e-12)
    assert data.info.std[0] == pytest.approx(float(pixels.std(correction=0)), abs=1e-12)


def test_binarized_images_are_black_and_white_at_the_threshold(folder):
    plain = load(DatasetSpec(name="digits"), DIGITS, folder)
    data = load(DatasetSpec(name="digits", binarize=0.5), DIGITS, folder)
    for before, after in ((plain.train, data.train), (plain.test, data.test)):
        assert torch.equal(after.images == 255, before.images.float() / 255 >= 0.5)
        assert set(after.images.unique().tolist()) == {0, 255}


def test_label_noise_reaches_train_and_validation_but_not_test(folder):
    plain = load(DatasetSpec(name="digits"), DIGITS, folder)
    noisy = load(DatasetSpec(name="digits", label_noise=0.5), DIGITS, folder)
    assert torch.equal(noisy.train.images, plain.train.images)
    assert 0.4 < float((noisy.train.labels != plain.train.labels).double().mean()) < 0.5
    assert 0.35 < float((noisy.val.labels != plain.val.labels).double().mean()) < 0.55
    assert torch.equal(noisy.test.labels, plain.test.labels)


def test_the_same_spec_gives_the_same_data(folder):
    spec = DatasetSpec(name="digits", label_noise=0.2, train_size=200, image_size=10)
    one, two = load(spec, DIGITS, folder), load(spec, DIGITS, folder)
    assert torch.equal(one.train.images, two.train.images)
    assert torch.equal(one.train.labels, two.train.labels)


def test_resizing_keeps_a_uniform_image_uniform(folder):
    data = load(DatasetSpec(name="digits", image_size=24), DIGITS, folder)
    assert data.test.images.shape == (359, 1, 24, 24)
    assert int(data.test.images[:, :, 0, 0].float().mean()) == 0


def test_a_set_that_was_never_decoded_is_refused_with_its_name(tmp_path):
    with pytest.raises(DataError, match="'other' is not decoded"):
        load(DatasetSpec(name="other"), make_info(name="other", digest="0" * 32), tmp_path)


def test_a_built_in_set_recorded_without_class_counts_is_decoded_when_needed(tmp_path):
    earlier = DIGITS.model_copy(update={"class_counts": None})
    assert len(load(DatasetSpec(name="digits"), earlier, tmp_path).test) == 359


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY garbage"])
def test_a_damaged_cache_is_refused(folder, tmp_path, damage):
    shutil.copytree(folder / DIGITS.digest, tmp_path / DIGITS.digest)
    (tmp_path / DIGITS.digest / "train-images.npy").write_bytes(damage)
    with pytest.raises(DataError, match="damaged"):
        load(DatasetSpec(name="digits"), DIGITS, tmp_path)


def test_a_cache_of_another_shape_is_refused(folder, tmp_path):
    shutil.copytree(folder / DIGITS.digest, tmp_path / DIGITS.digest)
    numpy.save(tmp_path / DIGITS.digest / "train-labels.npy", numpy.zeros(3, dtype=numpy.int64))
    with pytest.raises(DataError, match="is registered"):
        load(DatasetSpec(name="digits"), DIGITS, tmp_path)


def test_a_shift_follows_its_formula():
    images = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    shift = Shift(brightness=0.2, contrast=0.5)
    shifted = apply_shift(images, shift, torch.Generator())
    assert torch.allclose(shifted, 0.5 * (images - 0.5) + 0.5 + 0.2)


def test_the_noise_of_a_shift_has_its_deviation_and_its_generator():
    images = torch.zeros(100, 1, 20, 20)
    one, two = (
        apply_shift(images, Shift(noise=0.3), torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(one, two)
    assert float(one.std()) == pytest.approx(0.3, rel=0.02)
