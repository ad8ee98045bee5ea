"""RandAugment and TrivialAugment, drawn per image.

torchvision draws once for a whole batch; here every image draws its own operations, and each operation
runs once on the images that drew it. Tables of magnitudes and operations are torchvision's; geometry is
bilinear. Choices come from the global CPU generator, so that no device is waited for.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.augmentation.geometry import resample, rotation, unit_matrices
from trainer.spec import RandAugment

BINS = 31

#: Images N, C, H, W in [0, 1] and one signed magnitude each.
Operation = Callable[[Tensor, Tensor], Tensor]


def augment_randomly(images: Tensor, spec: RandAugment) -> Tensor:
    """Cubuk et al. 2020, arXiv 1909.13719: operations drawn with repetition, all at one magnitude."""
    bins = torch.full((len(images),), spec.magnitude)
    for _ in range(spec.operations):
        images = _apply_drawn(images, _RANDOM, bins)
    return images


def augment_trivially(images: Tensor) -> Tensor:
    """Müller & Hutter 2021, arXiv 2103.10158: one operation at a magnitude drawn evenly, from wider ranges."""
    return _apply_drawn(images, _WIDE, torch.randint(BINS, (len(images),)))


def _apply_drawn(images: Tensor, space: Mapping[str, "_Range"], bins: Tensor) -> Tensor:
    # Each sample draws an operation, but an operation runs once, on all the samples that drew it:
    # at most 13 calls, however large the batch (the identity needs none).
    choices = torch.randint(len(space), (len(images),))
    signs = 1.0 - 2.0 * torch.randint(2, (len(images),))
    augmented = images.clone()
    for number, (name, magnitudes) in enumerate(space.items()):
        rows = (choices == number).nonzero().flatten()
        if len(rows) and name != "identity":
            values = magnitudes.of(bins[rows], images.shape)
            values = values * signs[rows] if magnitudes.is_signed else values
            chosen = rows.to(images.device)
            augmented[chosen] = OPERATIONS[name](images[chosen], values.to(images))
    return augmented.clamp(0, 1)


class _Range:
    """Magnitudes from the first to the last bin; `axis`: in shares of the image's width or height."""

    def __init__(
        self,
        first: float = 0.0,
        last: float = 0.0,
        *,
        is_signed: bool = False,
        axis: int | None = None,
    ) -> None:
        self.first, self.last, self.is_signed, self.axis = first, last, is_signed, axis

    def of(self, bins: Tensor, shape: torch.Size) -> Tensor:
        last = self.last if self.axis is None else self.last * shape[self.axis]
        return self.first + (last - self.first) * bins / (BINS - 1)


def _space(
    shear: float, across: "_Range", down: "_Range", degrees: float, colour: float, bits: float
) -> dict[str, _Range]:
    coloured = _Range(0, colour, is_signed=True)
    sheared = _Range(0, shear, is_signed=True)
    return {
        "identity": _Range(),
        "shear_x": sheared,
        "shear_y": sheared,
        "translate_x": across,
        "translate_y": down,
        "rotate": _Range(0, degrees, is_signed=True),
        "brightness": coloured,
        "color": coloured,
        "contrast": coloured,
        "sharpness": coloured,
        "posterize": _Range(8, 8 - bits),
        "solarize": _Range(1, 0),
        "autocontrast": _Range(),
        "equalize": _Range(),
    }


def _shear_x(images: Tensor, magnitude: Tensor) -> Tensor:
    """About the upper left corner, in pixels: x + m y looks up what comes to x."""
    return _shear(images, magnitude, 0)


def _shear_y(images: Tensor, magnitude: Tensor) -> Tensor:
    return _shear(images, magnitude, 1)


def _shear(images: Tensor, magnitude: Tensor, axis: int) -> Tensor:
    matrix = unit_matrices(images)
    aspect = images.shape[2] / images.shape[3] if axis == 0 else images.shape[3] / images.shape[2]
    # From -1 at the corner: u + m a (v + 1).
    matrix[:, axis, 1 - axis] = magnitude * aspect
    matrix[:, axis, 2] = magnitude * aspect
    return resample(images, matrix)


def _translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    return _translate(images, pixels, 0)


def _translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    return _translate(images, pixels, 1)


def _translate(images: Tensor, pixels: Tensor, axis: int) -> Tensor:
    matrix = unit_matrices(images)
    matrix[:, axis, 2] = -2 * pixels.trunc() / images.shape[3 - axis]
    return resample(images, matrix)


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    return resample(images, rotation(images, degrees * (math.pi / 180)))


def _blend(images: Tensor, others: Tensor, magnitude: Tensor) -> Tensor:
    """Away from `others` for a positive magnitude, towards it for a negative one."""
    factor = (1 + magnitude).view(-1, 1, 1, 1)
    return (factor * images + (1 - factor) * others).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    """N, 1, H, W; of other than three channels the mean."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = images.new_tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _brightness(images: Tensor, magnitude: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), magnitude)


def _color(images: Tensor, magnitude: Tensor) -> Tensor:
    """Saturation: nothing where there are not three channels."""
    return _blend(images, _grey(images), magnitude) if images.shape[1] == 3 else images


def _contrast(images: Tensor, magnitude: Tensor) -> Tensor:
    return _blend(images, _grey(images).mean((2, 3), keepdim=True), magnitude)


def _sharpness(images: Tensor, magnitude: Tensor) -> Tensor:
    """Against a 3×3 blur; the border stays."""
    if min(images.shape[2:]) <= 2:
        return images
    kernel = images.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    kernel = kernel.expand(images.shape[1], 1, 3, 3)
    blurred = images.clone()
    blurred[:, :, 1:-1, 1:-1] = functional.conv2d(images, kernel, groups=images.shape[1])
    return _blend(images, blurred, magnitude)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    # 4 bits leave 16 levels. The brightest pixel, 1.0, would otherwise get a level of its own.
    levels = (2 ** bits.round()).view(-1, 1, 1, 1)
    return torch.minimum((images * levels).floor(), levels - 1) / levels


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images >= threshold.view(-1, 1, 1, 1), 1 - images, images)


def _autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Each channel to the full range; a constant one stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    spread = high - low
    stretched = (images - low) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return torch.where(spread > 0, stretched, images)


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    """Each channel's histogram of 256 values made flat, as PIL does it."""
    planes = (images.flatten(2).flatten(0, 1) * 255).round().long().clamp(0, 255)
    histogram = torch.zeros(len(planes), 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, planes, torch.ones_like(planes))
    last = histogram.gather(1, planes.amax(1, keepdim=True))
    step = (planes.shape[1] - last) // 255
    safe = step.clamp(min=1)
    table = ((histogram.cumsum(1) - histogram + safe // 2) // safe).clamp(0, 255)
    equalized = torch.where(step > 0, table.gather(1, planes), planes)
    return (equalized.to(images.dtype) / 255).view_as(images)


OPERATIONS: Mapping[str, Operation] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}

_RANDOM = _space(
    shear=0.3,
    across=_Range(0, 150 / 331, is_signed=True, axis=3),
    down=_Range(0, 150 / 331, is_signed=True, axis=2),
    degrees=30,
    colour=0.9,
    bits=4,
)
_WIDE = _space(
    shear=0.99,
    across=_Range(0, 32, is_signed=True),
    down=_Range(0, 32, is_signed=True),
    degrees=135,
    colour=0.99,
    bits=6,
)
