"""What our local response norm costs beside torch's own layer. Times layers alone."""

import time
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from bench.harness.turns import median_ratio, take_turns
from trainer.spec.norm import LocalResponseNorm
from trainer.surgery.build_norm import build_norm

SHAPE = (32, 64, 16, 16)
WARM_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Medians of forward and backward together; `ratio` is the median of each round's stock to ours."""

    ours_milliseconds: float
    stock_milliseconds: float
    ratio: float


def measure_lrn(*, rounds: int) -> LayerCost:
    """In turns, one thread."""
    torch.set_num_threads(1)
    ours = build_norm(LocalResponseNorm(kind="lrn"), SHAPE[1], "N,C,H,W")
    stock = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    contestants = {
        "ours": partial(_milliseconds, ours, x),
        "stock": partial(_milliseconds, stock, x),
    }
    take_turns(contestants, WARM_ROUNDS)
    turns = take_turns(contestants, rounds)
    return LayerCost(
        median(turns["ours"]), median(turns["stock"]), median_ratio(turns["stock"], turns["ours"])
    )


def _milliseconds(layer: nn.Module, x: Tensor) -> float:
    given = x.clone().requires_grad_()
    began = time.perf_counter()
    layer(given).sum().backward()
    return 1000 * (time.perf_counter() - began)
