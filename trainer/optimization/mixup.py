"""Mixes the examples of a batch and their labels: mixup (Zhang et al. 2018, arXiv 1710.09412) and cutmix
(Yun et al. 2019, arXiv 1905.04899).

Chance comes from the global CPU generator, which the caller has seeded: the same on every device.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from trainer.spec import Cutmix, JobSpec, Mixup

#: Images N, C, H, W and labels N (int64) → mixed images and class probabilities N, K.
Mixer: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def build_mixer(spec: JobSpec, classes: int) -> Mixer | None:
    """With mixup and cutmix both, each batch gets one of them, drawn evenly; None with neither."""
    kinds = [part for part in spec.regularization if isinstance(part, Mixup | Cutmix)]
    if not kinds:
        return None

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        kind = kinds[int(torch.randint(len(kinds), ()))]
        # Without a wait for the device; memory that isn't pinned is read before the call returns.
        partners = torch.randperm(len(images)).to(images.device, non_blocking=True)
        share = _draw_share(kind.alpha)
        others = images[partners]
        if isinstance(kind, Mixup):
            mixed = share * images + (1 - share) * others
        else:
            mixed, share = _paste(images, others, share)
        own = functional.one_hot(labels, classes).to(images.dtype)
        return mixed, share * own + (1 - share) * own[partners]

    return mix


def _draw_share(alpha: float) -> float:
    """From Beta(alpha, alpha). By NumPy: torch's own underflows to 1/2 for alpha below 0.01, where it is
    next to 0 or 1; seeded by torch's generator, so that there is one source of chance."""
    seed = int(torch.randint(2**63 - 1, ()))
    return float(numpy.random.default_rng(seed).beta(alpha, alpha))


def _paste(images: Tensor, others: Tensor, share: float) -> tuple[Tensor, float]:
    """A box of about the area 1 - share, its middle drawn evenly, cut at the border (Yun et al. 2019);
    returns the share of the area that stays, which is the share of the label."""
    height, width = images.shape[2:]
    middle = [int(torch.randint(side, ())) for side in (height, width)]
    half = [int(side * (1 - share) ** 0.5) / 2 for side in (height, width)]
    top, left = (max(0, int(m - h)) for m, h in zip(middle, half, strict=True))
    bottom, right = (
        min(side, int(m + h)) for side, m, h in zip((height, width), middle, half, strict=True)
    )
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    # The label follows the area that was really pasted, which is less than was drawn where the box
    # is cut at the border.
    area = max(0, bottom - top) * max(0, right - left)
    return mixed, 1 - area / (height * width)
