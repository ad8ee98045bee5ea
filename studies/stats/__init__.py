"""Tests, intervals, group-sequential levels; metrics and how their numbers are written."""

from studies.stats import group_sequential, inference
from studies.stats.inference import Interval, mean, t_interval
from studies.stats.metrics import (
    Score,
    amount,
    bounds,
    chance,
    count,
    finite,
    format_p_value,
    gap,
    has_direction,
    held_out_share,
    higher_is_better,
    is_share,
    listed,
    score,
    size,
    validation_metric,
    with_drift,
)

__all__ = [
    "Interval",
    "Score",
    "amount",
    "bounds",
    "chance",
    "count",
    "finite",
    "format_p_value",
    "gap",
    "group_sequential",
    "has_direction",
    "held_out_share",
    "higher_is_better",
    "inference",
    "is_share",
    "listed",
    "mean",
    "score",
    "size",
    "t_interval",
    "validation_metric",
    "with_drift",
]
