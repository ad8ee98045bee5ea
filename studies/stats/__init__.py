"""Tests, intervals, group-sequential levels, decisions; metrics and how their numbers are written."""

from studies.stats import group_sequential, inference
from studies.stats.decisions import Design, Outcome, Ruling, decide_comparisons
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
    "Design",
    "Interval",
    "Outcome",
    "Ruling",
    "Score",
    "amount",
    "bounds",
    "chance",
    "count",
    "decide_comparisons",
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
