"""Augmentations that move pixels: one matrix, window or rectangle per sample.

Images are floats N, C, H, W. Chance comes from the device's global generator.
"""

from typing import TypeAlias, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from trainer.spec import Flip, PaddedCrop, RandomErasing, Rotate, Scale, Translate

#: What can be done by one matrix.
Affine: TypeAlias = Rotate | Flip | Scale | Translate


def draw_uniform(images: Tensor, low: float, high: float) -> Tensor:
    """One number per sample."""
    return torch.rand(len(images), device=images.device) * (high - low) + low


def draw_chosen(images: Tensor, p: float) -> Tensor:
    return torch.rand(len(images), device=images.device) < p


def flip_exactly(images: Tensor, specs: tuple[Affine, ...]) -> Tensor:
    """Without resampling, which rounds."""
    for spec in specs:
        assert isinstance(spec, Flip)
        flipped = images.flip(3 if spec.axis == "horizontal" else 2)
        images = torch.where(draw_chosen(images, spec.p).view(-1, 1, 1, 1), flipped, images)
    return images


def resample_affinely(images: Tensor, specs: tuple[Affine, ...]) -> Tensor:
    """Each output pixel looks up where it came from: inverses, in reverse."""
    lookup = torch.eye(3, device=images.device).expand(len(images), 3, 3)
    for spec in specs:
        # To find where an output pixel came from, the last transformation is undone first: (B A)⁻¹
        # = A⁻¹ B⁻¹. One lookup instead of several resamplings, each of which would blur the image.
        lookup = lookup @ _inverse(spec, images)
    return resample(images, lookup)


def resample(images: Tensor, lookup: Tensor) -> Tensor:
    """Bilinear, black outside; `lookup` N, 3, 3 in coordinates where the image reaches from -1 to 1."""
    grid = functional.affine_grid(lookup[:, :2].to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def unit_matrices(images: Tensor) -> Tensor:
    return torch.eye(3, device=images.device).repeat(len(images), 1, 1)


def rotation(images: Tensor, radians: Tensor) -> Tensor:
    """Pixels of an oblong image are not square in coordinates from -1 to 1."""
    matrix, aspect = unit_matrices(images), images.shape[3] / images.shape[2]
    matrix[:, 0, 0] = matrix[:, 1, 1] = radians.cos()
    matrix[:, 0, 1] = radians.sin() / aspect
    matrix[:, 1, 0] = -radians.sin() * aspect
    return matrix


def _inverse(spec: Affine, images: Tensor) -> Tensor:
    matrix = unit_matrices(images)
    match spec:
        case Rotate():
            return rotation(images, draw_uniform(images, -spec.degrees, spec.degrees).deg2rad())
        case Flip():
            axis = 0 if spec.axis == "horizontal" else 1
            matrix[:, axis, axis] = 1 - 2 * draw_chosen(images, spec.p).to(matrix)
        case Scale():
            matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / draw_uniform(images, spec.low, spec.high)
        case Translate():
            # The whole image is 2 wide in these coordinates.
            matrix[:, 0, 2] = 2 * draw_uniform(images, -spec.fraction, spec.fraction)
            matrix[:, 1, 2] = 2 * draw_uniform(images, -spec.fraction, spec.fraction)
        case _:
            assert_never(spec)
    return matrix


def crop_padded(images: Tensor, spec: PaddedCrop) -> Tensor:
    """A window of the old size out of the padded image, its place drawn evenly (He et al. 2016, arXiv
    1512.03385, §4.2)."""
    mode = "reflect" if spec.fill == "reflect" else "constant"
    padded = functional.pad(images, [spec.padding] * 4, mode=mode)
    count, _, height, width = images.shape
    shifts = torch.randint(2 * spec.padding + 1, (2, count, 1), device=images.device)
    rows = shifts[0] + torch.arange(height, device=images.device)
    columns = shifts[1] + torch.arange(width, device=images.device)
    samples = torch.arange(count, device=images.device)
    # One gather for the whole batch, with a window of its own for each sample. Indexed so, the
    # channels come last.
    cut = padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).contiguous()


def erase(images: Tensor, spec: RandomErasing) -> Tensor:
    """Zhong et al. 2020, arXiv 1708.04896: height over width between 0.3 and 3.3, evenly on a logarithmic scale."""
    height, width = images.shape[2:]
    area = draw_uniform(images, spec.low, spec.high) * height * width
    # exp(±1.2) is 3.3 and 0.3.
    ratio = draw_uniform(images, -1.2, 1.2).exp()
    tall = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    top = (draw_uniform(images, 0, 1) * (height - tall + 1)).floor()
    left = (draw_uniform(images, 0, 1) * (width - wide + 1)).floor()
    erased = _between(top, tall, height)[:, :, None] & _between(left, wide, width)[:, None, :]
    erased &= draw_chosen(images, spec.p)[:, None, None]
    return images.masked_fill(erased[:, None], 0.0)


def _between(start: Tensor, length: Tensor, size: int) -> Tensor:
    """N, size: which places lie in the stretch of each sample."""
    places = torch.arange(size, device=start.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])
