"""RandAugment and TrivialAugment: operations and magnitudes are torchvision's, draws each image's own."""

import math
from collections import defaultdict
from collections.abc import Mapping

import pytest
import torch
from pydantic import TypeAdapter
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode, functional

import trainer.data.augmentation.auto_augment
from tests.support.trainer_specs import DIGITS  # noqa: F401 (sets the number of threads)
from trainer.data.augmentation.auto_augment import OPERATIONS
from trainer.data.augmentation.build import build_augmentation
from trainer.spec.augmentation import AugmentationSpec

#: Torchvision's tables of magnitudes.
SPACES = {
    "rand_augment": v2.RandAugment._AUGMENTATION_SPACE,
    "trivial_augment": v2.TrivialAugmentWide._AUGMENTATION_SPACE,
}


def build(document):
    return build_augmentation([TypeAdapter(AugmentationSpec).validate_python(document)])


def pixels(shape, seed=0):
    """Whole numbers out of 255, on which a float and a byte are the same image."""
    source = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=source).float() / 255


COLOURS = {
    "brightness": ("adjust_brightness", [-0.9, -0.3, 0.0, 0.4, 0.9]),
    "color": ("adjust_saturation", [-0.9, -0.3, 0.0, 0.4, 0.9]),
    "contrast": ("adjust_contrast", [-0.9, -0.3, 0.0, 0.4, 0.9]),
    "sharpness": ("adjust_sharpness", [-0.9, -0.3, 0.0, 0.4, 0.9]),
    "solarize": ("solarize", [0.0, 0.25, 0.5, 1.0, 0.1]),
    "posterize": ("posterize", [8, 7, 5, 4, 2]),
    "autocontrast": ("autocontrast", [None] * 5),
    "equalize": ("equalize", [None] * 5),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_operation_is_that_of_torchvision_at_the_magnitude_of_each_image(
    name, channels
):
    function, magnitudes = COLOURS[name]
    images = (
        pixels((5, channels, 14, 9)) * 0.8 if name != "equalize" else pixels((5, channels, 30, 31))
    )
    images = (images * 255).round() / 255
    if name == "color" and channels == 1:
        return  # grey has no saturation: below
    values = torch.tensor([0.0 if one is None else float(one) for one in magnitudes])
    found = OPERATIONS[name](images, values)
    reference = getattr(functional, function)
    for image, magnitude, ours in zip(images, magnitudes, found, strict=True):
        if magnitude is None:
            theirs = reference(image)
        else:
            signed = function.startswith("adjust")
            theirs = reference(image, 1 + magnitude if signed else magnitude)
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_grey_images_have_no_saturation():
    images = pixels((3, 1, 6, 6))
    assert torch.equal(OPERATIONS["color"](images, torch.ones(3)), images)


MOVES = {
    "shear_x": [0.0, 0.2, -0.3],
    "shear_y": [0.0, 0.2, -0.3],
    "translate_x": [0.0, 2.0, -3.0],
    "translate_y": [0.0, 2.0, -3.0],
    "rotate": [0.0, 20.0, -30.0],
}


@pytest.mark.parametrize("name", MOVES)
def test_every_geometric_operation_is_that_of_torchvision(name):
    """The size and place of a move, and its direction for translations; the sign is drawn anyway."""
    images = pixels((3, 1, 16, 12))
    found = OPERATIONS[name](images, torch.tensor(MOVES[name]))
    for image, magnitude, ours in zip(images, MOVES[name], found, strict=True):
        options = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        axis = 0 if name.endswith("x") else 1
        if name.startswith("shear"):
            shear = [0.0, 0.0]
            shear[axis] = math.degrees(math.atan(magnitude))
            options |= {"shear": shear, "center": [0, 0]}
        elif name.startswith("translate"):
            options["translate"] = [int(magnitude) * (axis == 0), int(magnitude) * (axis == 1)]
        else:
            options["angle"] = magnitude
        bilinear = InterpolationMode.BILINEAR
        both = []
        for sign in (1, -1):
            signed = {**options, "angle": sign * options["angle"]}
            signed["shear"] = [sign * one for one in options["shear"]]
            both.append(functional.affine(image, **signed, interpolation=bilinear))
        assert any(torch.allclose(ours, theirs, atol=1e-4) for theirs in both)


def test_random_augmentation_at_magnitude_zero_changes_only_by_what_has_no_magnitude():
    images = pixels((400, 3, 8, 8))
    torch.manual_seed(0)
    out = build({"kind": "rand_augment", "operations": 1, "magnitude": 0})(images)
    changed = [not torch.allclose(a, b, atol=1e-4) for a, b in zip(images, out, strict=True)]
    # Autocontrast and equalize are two of fourteen; posterize rounds. Binomial(400, 2/14) stays below 100.
    assert 0 < sum(changed) < 100


@pytest.mark.parametrize("kind", ["rand_augment", "trivial_augment"])
def test_every_image_of_a_batch_draws_for_itself(kind):
    same = pixels((1, 3, 16, 16)).expand(60, -1, -1, -1)
    torch.manual_seed(1)
    out = build({"kind": kind})(same)
    assert len(out.flatten(1).unique(dim=0)) > 20
    torch.manual_seed(1)
    assert torch.equal(build({"kind": kind})(same), out)


@pytest.mark.parametrize("kind", ["rand_augment", "trivial_augment"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_any_channels_are_augmented(kind, channels):
    out = build({"kind": kind})(pixels((64, channels, 9, 7)))
    assert out.shape == (64, channels, 9, 7)
    assert out.min() >= 0
    assert out.max() <= 1


def in_words_of_torchvision(name: str) -> str:
    """auto_contrast is autocontrast there and here; else shear_x is ShearX."""
    return "AutoContrast" if name == "autocontrast" else name.title().replace("_", "")


@pytest.fixture
def drawn(monkeypatch) -> Mapping[str, list[float]]:
    """The magnitudes that images were given, by operation; none is changed."""
    magnitudes = defaultdict(list)

    def recorder(name):
        def record(images, values):
            # Bits are whole: torchvision rounds them in its table, ours when they are used.
            magnitudes[name] += (values.round() if name == "posterize" else values).tolist()
            return images

        return record

    recorders = {name: recorder(name) for name in OPERATIONS}
    monkeypatch.setattr(trainer.data.augmentation.auto_augment, "OPERATIONS", recorders)
    return magnitudes


def expected_magnitudes(kind: str, name: str) -> tuple[list[float], bool]:
    """Of each bin, for images of 40 × 20, and whether their sign is drawn."""
    magnitudes, is_signed = SPACES[kind][in_words_of_torchvision(name)]
    values = magnitudes(31, 40, 20)
    return [0.0] * 31 if values is None else values.tolist(), is_signed


@pytest.mark.parametrize("magnitude", [1, 9, 30])
def test_random_augmentation_draws_each_operation_alike_at_the_magnitude_of_torchvision(
    drawn, magnitude
):
    torch.manual_seed(0)
    build({"kind": "rand_augment", "operations": 3, "magnitude": magnitude})(
        torch.rand(1000, 1, 40, 20)
    )
    assert set(drawn) == set(OPERATIONS)
    for name, found in drawn.items():
        # Binomial(3000, 1/14) leaves [145, 283] in 2 of a million cases.
        assert 145 <= len(found) <= 283
        table, is_signed = expected_magnitudes("rand_augment", name)
        assert [abs(one) for one in found] == pytest.approx([table[magnitude]] * len(found))
        negative = sum(one < 0 for one in found) / len(found)
        assert (0.3 < negative < 0.7) if is_signed else negative == 0


def test_trivial_augmentation_draws_one_operation_at_any_magnitude_of_torchvision(drawn):
    torch.manual_seed(0)
    build({"kind": "trivial_augment"})(torch.rand(7000, 1, 40, 20))
    assert set(drawn) == set(OPERATIONS)
    for name, found in drawn.items():
        # Binomial(7000, 1/14) leaves [395, 607] in less than 2 of a million cases.
        assert 395 <= len(found) <= 607
        table, is_signed = expected_magnitudes("trivial_augment", name)
        seen = sorted({round(abs(one), 3) for one in found})
        assert seen == pytest.approx(sorted({round(one, 3) for one in table}), abs=2e-3)
        negative = sum(one < 0 for one in found) / len(found)
        assert (0.3 < negative < 0.7) if is_signed else negative == 0


@pytest.mark.parametrize("operations", [1, 2, 5])
def test_random_augmentation_applies_as_many_operations_as_it_is_told(drawn, operations):
    torch.manual_seed(0)
    build({"kind": "rand_augment", "operations": operations})(torch.rand(1400, 1, 4, 4))
    applied = sum(map(len, drawn.values()))
    # One of fourteen is the identity: five standard deviations on either side.
    draws = 1400 * operations
    assert abs(applied - draws * 13 / 14) < 5 * (draws * 13 / 14 / 14) ** 0.5
