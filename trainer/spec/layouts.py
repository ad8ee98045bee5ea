"""On which layouts of activations each norm is defined, and why not on the others.

N samples, C channels, L or H × W positions. N, L, C are the tokens of a transformer, each of which
stands for itself; N, H, W, C is a map whose channels come last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from trainer.spec.norm import (
    BatchNorm,
    BatchRenorm,
    Derf,
    DynamicTanh,
    EvoNorm,
    FilterResponseNorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    NormSpec,
    RmsNorm,
)

Layout: TypeAlias = Literal["N,C", "N,C,L", "N,L,C", "N,C,H,W", "N,H,W,C"]

LAYOUTS: tuple[Layout, ...] = ("N,C", "N,C,L", "N,L,C", "N,C,H,W", "N,H,W,C")


@dataclass(frozen=True, slots=True)
class Gap:
    """Why a norm is not defined on a layout, and what to do instead."""

    reason: str
    remedy: str


def find_gap(norm: NormSpec, layout: Layout) -> Gap | None:
    """None where the norm is defined."""
    match norm:
        case (
            NoNorm() | BatchNorm() | GhostBatchNorm() | BatchRenorm() | LayerNorm() | RmsNorm()
            | DynamicTanh() | Derf() | LocalResponseNorm(across="channels")
        ):  # fmt: skip
            return None
        case GroupNorm():
            return _refuse(norm, layout, {"N,L,C": _TOKENS})
        case InstanceNorm() | FilterResponseNorm():
            return _refuse(norm, layout, {"N,C": _VECTORS, "N,L,C": _TOKENS})
        case LocalResponseNorm() | EvoNorm():
            return _refuse(norm, layout, {"N,C": _VECTORS, "N,C,L": _LINES, "N,L,C": _TOKENS})
        case _:
            assert_never(norm)


def name_norm(norm: NormSpec) -> str:
    """As a person says it."""
    if isinstance(norm, LocalResponseNorm):
        return f"lrn across {norm.across}"
    names = {
        "evonorm": "evonorm",
        "dynamic_tanh": "dynamic tanh",
        "derf": "dynamic erf",
        "none": "no norm",
    }
    return names.get(norm.kind, f"{norm.kind.replace('_', ' ')} norm")


def tabulate(norm: NormSpec) -> Iterator[tuple[Layout, Gap | None]]:
    """The norm's row of the table."""
    for layout in LAYOUTS:
        yield layout, find_gap(norm, layout)


_VECTORS = Gap(
    "{norm} needs positions (H, W) to average over but a vector (N, C) has none",
    "layer, group or batch norm, or a model of convolutions",
)
_TOKENS = Gap(
    "{norm} is not defined on a sequence of tokens (N, L, C), each of which stands for itself",
    "layer, rms, batch or none; or a model of convolutions",
)
_LINES = Gap(
    "{norm} looks at windows of a map (H, W) but a line of positions (N, C, L) is none",
    "layer, group or batch norm, or a model of images",
)


def _refuse(norm: NormSpec, layout: Layout, gaps: Mapping[Layout, Gap]) -> Gap | None:
    gap = gaps.get(layout)
    if gap is None:
        return None
    return Gap(gap.reason.format(norm=name_norm(norm)), gap.remedy)
