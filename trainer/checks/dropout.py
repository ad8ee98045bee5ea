"""Warnings of a spec about what it drops: units, maps, blocks, weights, branches."""

from collections.abc import Iterator

from trainer.checks.context import CheckContext
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

#: Higher rates are rare, while many papers give the share that is kept.
_MOST_DROPPED = 0.7
_MOST_INPUT_DROPPED = 0.5


def warn_high_drop_rate(context: CheckContext) -> Iterator[str]:
    """Srivastava et al. 2014 write p for the share kept: 0.5 of hidden units, 0.8 of the input."""
    for one in context.spec.regularization:
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


def warn_several_dropouts(context: CheckContext) -> Iterator[str]:
    parts = context.spec.regularization
    found = [one.kind for one in parts if isinstance(one, _WITHIN_LAYERS) and one.p > 0]
    if len(found) > 1:
        yield f"{' and '.join(found)} drop one after the other: their effects multiply"


def warn_blocks_cover_maps(context: CheckContext) -> Iterator[str]:
    block = context.spec.regularizer(DropBlock)
    maps = [min(site.shape[1:]) for site in context.sites if len(site.shape) == 3]
    if block is not None and block.p > 0 and maps and block.block_size > min(maps):
        yield (
            f"a block of {block.block_size}×{block.block_size} covers maps of {min(maps)} pixels: "
            "there drop_block drops whole maps"
        )


def warn_denoising_autoencoder(context: CheckContext) -> Iterator[str]:
    dropout = context.spec.regularizer(Dropout)
    if (
        dropout is not None
        and dropout.input_p > 0
        and isinstance(context.spec.task, Reconstruction)
    ):
        yield "with input_p the autoencoder is a denoising one: it learns to restore dropped pixels"


def warn_drop_block_without_ramp(context: CheckContext) -> Iterator[str]:
    block = context.spec.regularizer(DropBlock)
    if block is not None and block.p > 0 and not block.ramp:
        yield (
            f"drop_block drops {block.p:g} from the first step on: its paper lets p grow linearly from 0 "
            "(ramp: true)"
        )


def warn_timm_drop_connect(context: CheckContext) -> Iterator[str]:
    """timm calls stochastic depth by that name."""
    connect, model = context.spec.regularizer(DropConnect), context.spec.model
    if connect is None or connect.p == 0 or not isinstance(model, LibraryModel):
        return
    if model.name.startswith("timm:"):
        yield (
            "drop_connect drops weights (Wan et al. 2013); what timm calls drop_connect skips branches: "
            "stochastic_depth"
        )


DROPOUT_WARNINGS = (
    warn_high_drop_rate,
    warn_several_dropouts,
    warn_blocks_cover_maps,
    warn_denoising_autoencoder,
    warn_drop_block_without_ramp,
    warn_timm_drop_connect,
)
