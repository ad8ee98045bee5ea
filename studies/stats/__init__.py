"""Tests, intervals, group-sequential levels, and numbers as text."""

from studies.stats import group_sequential, inference
from studies.stats.drift import with_drift
from studies.stats.formatting import (
    amount,
    bounds,
    chance,
    count,
    format_p_value,
    gap,
    is_share,
    listed,
    size,
)
from studies.stats.inference import Interval, mean, t_interval

__all__ = [
    "Interval",
    "amount",
    "bounds",
    "chance",
    "count",
    "format_p_value",
    "gap",
    "group_sequential",
    "inference",
    "is_share",
    "listed",
    "mean",
    "size",
    "t_interval",
    "with_drift",
]
