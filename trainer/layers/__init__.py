"""Modules that torch lacks, and how to recognize layers."""

from trainer.layers import channels_last, norms
from trainer.layers.dropout import (
    BlockDropout,
    BranchDropout,
    BranchSite,
    DropoutLinear,
    DropSite,
    HeadSite,
    drop_probability,
    drop_weights,
    drops,
    has_ramp,
    is_stochastic_depth,
    may_draw,
    set_progress,
    start_dropping,
)
from trainer.layers.frozen import FrozenBatchNorm
from trainer.layers.kinds import (
    has_weights,
    is_activation,
    is_called_norm,
    is_leaf,
    norm_layout,
    own_standardization,
)
from trainer.layers.norms import BatchRenorm, GhostBatchNorm
from trainer.layers.synchronized import SynchronizedBatchNorm, find_synchronized, synchronized

__all__ = [
    "BatchRenorm",
    "BlockDropout",
    "BranchDropout",
    "BranchSite",
    "DropSite",
    "DropoutLinear",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "HeadSite",
    "SynchronizedBatchNorm",
    "channels_last",
    "drop_probability",
    "drop_weights",
    "drops",
    "find_synchronized",
    "has_ramp",
    "has_weights",
    "is_activation",
    "is_called_norm",
    "is_leaf",
    "is_stochastic_depth",
    "may_draw",
    "norm_layout",
    "norms",
    "own_standardization",
    "set_progress",
    "start_dropping",
    "synchronized",
]
