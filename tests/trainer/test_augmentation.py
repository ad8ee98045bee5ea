"""Augmentations: each against its definition, per sample, and governed by the global generator."""

import pytest
import torch
from pydantic import TypeAdapter
from trainer_specs import DIGITS  # noqa: F401 (sets the number of threads)

from trainer.augmentation import build_augmentation
from trainer.spec import AugmentationSpec

KINDS = {
    "rotate": {"kind": "rotate", "degrees": 15.0},
    "flip": {"kind": "flip"},
    "scale": {"kind": "scale"},
    "shift": {"kind": "shift", "fraction": 0.2},
    "contrast": {"kind": "contrast"},
    "brightness": {"kind": "brightness"},
}


def build(*documents):
    return build_augmentation(
        [TypeAdapter(AugmentationSpec).validate_python(document) for document in documents]
    )


@pytest.fixture
def images():
    return torch.rand(16, 3, 12, 10, generator=torch.Generator().manual_seed(0))


def test_none_is_none():
    assert build_augmentation(()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_range_stay_and_samples_differ(kind, images):
    same = images[:1].expand(16, -1, -1, -1)
    torch.manual_seed(0)
    out = build(KINDS[kind])(same)
    assert out.shape == images.shape
    assert out.dtype == images.dtype
    assert 0 <= float(out.min()) <= float(out.max()) <= 1 + 1e-6
    assert len({tuple(one.flatten().tolist()) for one in out}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_global_generator_decides(kind, images):
    augment = build(KINDS[kind])
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(augment(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize(("axis", "dimension"), [("horizontal", 3), ("vertical", 2)])
def test_a_certain_flip_mirrors_exactly(axis, dimension, images):
    out = build({"kind": "flip", "axis": axis, "p": 1.0})(images)
    assert torch.equal(out, images.flip(dimension))


def test_a_flip_of_one_half_mirrors_about_half():
    images = torch.rand(400, 1, 4, 4)
    torch.manual_seed(0)
    out = build({"kind": "flip"})(images)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert 160 < int(mirrored.sum()) < 240
    assert torch.equal(out[~mirrored], images[~mirrored])


def draw_always(monkeypatch, value):
    monkeypatch.setattr(torch, "rand", lambda *size, **rest: torch.full(size, value))


def test_a_quarter_turn_is_a_quarter_turn(monkeypatch):
    square = torch.rand(2, 1, 9, 9)
    draw_always(monkeypatch, 1.0)
    out = build({"kind": "rotate", "degrees": 90.0})(square)
    assert any(torch.allclose(out, torch.rot90(square, k, (2, 3)), atol=1e-5) for k in (1, 3))


def test_rotation_keeps_the_form_in_oblong_images(monkeypatch):
    # A disc right of the middle of a wide image is above or below it after a quarter turn.
    images = torch.zeros(1, 1, 41, 81)
    rows, columns = torch.meshgrid(torch.arange(41), torch.arange(81), indexing="ij")
    images[0, 0] = (((rows - 20) ** 2 + (columns - 50) ** 2) <= 16).float()
    draw_always(monkeypatch, 1.0)
    out = build({"kind": "rotate", "degrees": 90.0})(images)[0, 0]
    total = out.sum()
    assert float((out * columns).sum() / total) == pytest.approx(40, abs=0.1)
    assert abs(float((out * rows).sum() / total) - 20) == pytest.approx(10, abs=0.1)
    assert float(total) == pytest.approx(float(images.sum()), rel=0.02)


def test_a_shift_moves_by_whole_pixels_and_fills_with_black(monkeypatch):
    images = torch.rand(1, 1, 10, 10)
    draw_always(monkeypatch, 1.0)
    out = build({"kind": "shift", "fraction": 0.2})(images)
    expected = torch.zeros_like(images)
    expected[:, :, :8, :8] = images[:, :, 2:, 2:]
    assert torch.allclose(out, expected, atol=1e-5)


def test_a_scale_above_one_enlarges(monkeypatch):
    images = torch.zeros(1, 1, 21, 21)
    images[:, :, 8:13, 8:13] = 1
    draw_always(monkeypatch, 0.5)
    out = build({"kind": "scale", "low": 2.0, "high": 2.0})(images)
    assert float(out.sum()) == pytest.approx(4 * float(images.sum()), rel=0.05)


def test_neighbouring_moves_are_one_resampling_in_their_order(monkeypatch, images):
    draw_always(monkeypatch, 1.0)
    square = images[..., :10, :10]
    turn, move = {"kind": "rotate", "degrees": 90.0}, {"kind": "shift", "fraction": 0.2}
    together = build(turn, move)(square)
    assert torch.allclose(together, build(move)(build(turn)(square)), atol=1e-5)
    assert not torch.allclose(together, build(move, turn)(square), atol=1e-2)


def test_contrast_keeps_the_mean_and_brightness_adds_to_it(monkeypatch):
    images = torch.rand(4, 1, 8, 8) * 0.2 + 0.4
    draw_always(monkeypatch, 1.0)
    out = build({"kind": "contrast", "amount": 0.5})(images)
    mean = images.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(out, (images - mean) * 1.5 + mean, atol=1e-6)
    assert torch.allclose(build({"kind": "brightness", "amount": 0.1})(images), images + 0.1)


def test_colours_stay_in_their_range():
    images = torch.rand(50, 1, 4, 4)
    out = build({"kind": "contrast", "amount": 1.0}, {"kind": "brightness", "amount": 1.0})(images)
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


def test_draws_are_uniform_over_the_whole_range():
    images = torch.full((2000, 1, 1, 1), 0.5)
    torch.manual_seed(0)
    added = (build({"kind": "brightness", "amount": 0.4})(images) - 0.5).flatten()
    assert float(added.min()) == pytest.approx(-0.4, abs=0.01)
    assert float(added.max()) == pytest.approx(0.4, abs=0.01)
    assert float(added.std()) == pytest.approx(0.8 / 12**0.5, rel=0.05)
