"""Warnings of a spec about what it drops: units, maps, blocks, weights, branches."""

from collections.abc import Iterator

from trainer.checks.context import Case
from trainer.spec import (
    DropBlock,
    DropConnect,
    Dropout,
    LibraryModel,
    Reconstruction,
    SpatialDropout,
    StochasticDepth,
)

_WITHIN_LAYERS = (Dropout, SpatialDropout, DropBlock, DropConnect)

#: Nearly nobody drops more, but many papers give the share that they keep.
_MOST_DROPPED = 0.7
_MOST_INPUT_DROPPED = 0.5


def share_kept(case: Case) -> Iterator[str]:
    """Srivastava et al. 2014 write p for the share kept: 0.5 of hidden units, 0.8 of the input."""
    for one in case.spec.regularization:
        if not isinstance(one, (*_WITHIN_LAYERS, StochasticDepth)):
            continue
        given = [("p", one.p, _MOST_DROPPED)]
        if isinstance(one, Dropout):
            given.append(("input_p", one.input_p, _MOST_INPUT_DROPPED))
        for name, p, most in given:
            if p >= most:
                yield (
                    f"{one.kind} with {name} {p:g} keeps {1 - p:.0%}: {name} is the share dropped; where "
                    f"a paper says {p:g} of what it keeps, it is {1 - p:.2g} here"
                )


def several_drops(case: Case) -> Iterator[str]:
    parts = case.spec.regularization
    found = [one.kind for one in parts if isinstance(one, _WITHIN_LAYERS) and one.p > 0]
    if len(found) > 1:
        yield f"{' and '.join(found)} drop one after the other: their effects multiply"


def blocks_of_whole_maps(case: Case) -> Iterator[str]:
    block = case.spec.regularizer(DropBlock)
    maps = [min(site.shape[1:]) for site in case.sites if len(site.shape) == 3]
    if block is not None and block.p > 0 and maps and block.block_size > min(maps):
        yield (
            f"a block of {block.block_size}×{block.block_size} covers maps of {min(maps)} pixels: "
            "there drop_block drops whole maps"
        )


def denoising(case: Case) -> Iterator[str]:
    dropout = case.spec.regularizer(Dropout)
    if dropout is not None and dropout.input_p > 0 and isinstance(case.spec.task, Reconstruction):
        yield "with input_p the autoencoder is a denoising one: it learns to restore dropped pixels"


def blocks_from_the_start(case: Case) -> Iterator[str]:
    block = case.spec.regularizer(DropBlock)
    if block is not None and block.p > 0 and not block.ramp:
        yield (
            f"drop_block drops {block.p:g} from the first step on: its paper lets p grow linearly from 0 "
            "(ramp: true)"
        )


def weights_or_branches(case: Case) -> Iterator[str]:
    """timm calls stochastic depth by that name."""
    connect, model = case.spec.regularizer(DropConnect), case.spec.model
    if connect is None or connect.p == 0 or not isinstance(model, LibraryModel):
        return
    if model.name.startswith("timm:"):
        yield (
            "drop_connect drops weights (Wan et al. 2013); what timm calls drop_connect skips branches: "
            "stochastic_depth"
        )


DROPPING_WARNINGS = (
    share_kept,
    several_drops,
    blocks_of_whole_maps,
    denoising,
    blocks_from_the_start,
    weights_or_branches,
)
