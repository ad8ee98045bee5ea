"""Drawn datasets: the same for the same seed, what their formulas say, cut without classes where there
are none."""

import random

import numpy
import pytest
import torch

from trainer.data.decoding import decode
from trainer.data.loading import load
from trainer.data.sources.synthetic import draw
from trainer.errors import DataError
from trainer.events import Progressed
from trainer.spec.builtin import BUILT_IN, GENERATED
from trainer.spec.dataset import DatasetInfo, DatasetSpec, Generated

KINDS = tuple(GENERATED)


def source(kind: str, **options) -> Generated:
    return Generated(kind="generated", generator=kind, **{"size": 400, **options})


def decoded(folder, given: Generated, name: str = "mine") -> DatasetInfo:
    steps = decode(name, given, folder, ())
    while True:
        try:
            assert isinstance(next(steps), Progressed)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("kind", KINDS)
def test_the_built_in_ones_are_what_the_spec_package_says(kind, tmp_path):
    assert decoded(tmp_path, GENERATED[kind], name=kind) == BUILT_IN[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_draw_equally_and_others_do_not(kind):
    first, again, other = (draw(source(kind, seed=seed)) for seed in (1, 1, 2))
    for part, (x, y) in first.parts.items():
        assert x.dtype == numpy.float32
        assert numpy.array_equal(x, again.parts[part][0])
        assert numpy.array_equal(y, again.parts[part][1])
        assert not numpy.array_equal(x, other.parts[part][0])


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_leaves_the_global_generators_alone(kind):
    before = random.getstate(), numpy.random.get_state()[1].copy(), torch.random.get_rng_state()
    draw(source(kind))
    assert random.getstate() == before[0]
    assert numpy.array_equal(numpy.random.get_state()[1], before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_values_are_the_cosine_and_noise_of_the_stated_deviation(noise):
    drawn = draw(source("polynomial_noise", size=4000, noise=noise))
    x, y = drawn.parts["train"]
    rest = y - numpy.cos(1.5 * numpy.pi * x[:, 0])
    assert drawn.classes == ()
    assert 0 <= x.min() < 0.01
    assert 0.99 < x.max() <= 1
    # Both are rounded to four decimals, and the cosine's slope is below five.
    assert rest.std() == pytest.approx(noise, rel=0.05, abs=3e-4)


@pytest.mark.parametrize("kind", ["moons", "circles", "blobs"])
def test_points_have_two_features_and_noise_spreads_them(kind):
    still, moved = (draw(source(kind, noise=noise)).parts["train"] for noise in (0.0, 1.0))
    assert still[0].shape == moved[0].shape == (400, 2)
    assert moved[0].var() > still[0].var()
    assert set(still[1]) == set(range(3 if kind == "blobs" else 2))


def test_mnist1d_is_that_of_its_package_with_its_own_test_split():
    parts = draw(GENERATED["mnist1d"]).parts
    (x, y), test = parts["train"], parts["test"]
    assert (x.shape, test[0].shape) == ((4000, 40), (1000, 40))
    assert sorted(set(y)) == list(range(10))
    assert numpy.concatenate((x, test[0])).mean() == pytest.approx(0, abs=1e-4)
    assert numpy.concatenate((x, test[0])).std() == pytest.approx(1, abs=1e-4)


def test_a_registered_one_has_its_own_size_and_seed(tmp_path):
    info = decoded(tmp_path, source("moons", size=123, seed=5))
    assert (info.content, info.target, info.shape) == ("vectors", "class", (2, 1, 1))
    assert (info.train_size, info.test_size) == (123, None)
    again = decoded(tmp_path, source("moons", size=123, seed=5))
    assert again == info
    assert decoded(tmp_path, source("moons", size=123, seed=6)).digest != info.digest


def test_values_are_cut_without_classes_into_disjoint_parts(tmp_path):
    info = BUILT_IN["polynomial_noise"]
    spec = DatasetSpec(name=info.name, train_size=30, val_fraction=0.25)
    data = load(spec, info, tmp_path)
    assert [len(one) for one in (data.train, data.val, data.test)] == [30, 1000, 1000]
    for split in (data.train, data.val, data.test):
        assert split.images.dtype == split.labels.dtype == torch.float32
        assert split.images.shape[1:] == (1, 1, 1)
    points = torch.cat(
        [torch.stack((s.images.flatten(), s.labels)).T for s in (data.train, data.val)]
    )
    assert len(points.unique(dim=0)) == 1030
    again = load(spec, info, tmp_path)
    assert torch.equal(data.train.images, again.train.images)
    other = load(spec.model_copy(update={"split_seed": 1}), info, tmp_path)
    assert not torch.equal(data.train.images, other.train.images)


def test_mean_and_deviation_are_those_of_the_training_split(tmp_path):
    info = BUILT_IN["moons"]
    data = load(DatasetSpec(name="moons", train_size=50), info, tmp_path)
    features = data.train.images.double().flatten(1)
    assert data.info.mean == pytest.approx(features.mean(0).tolist(), abs=1e-6)
    assert data.info.std == pytest.approx(features.std(0, correction=0).tolist(), abs=1e-6)
    assert len(data.train.labels.unique()) == 2


def test_more_points_than_there_are_is_refused(tmp_path):
    info = BUILT_IN["polynomial_noise"]
    with pytest.raises(DataError, match="cannot exceed the 3200 examples"):
        load(DatasetSpec(name=info.name, train_size=3201), info, tmp_path)
