"""A claim's statistic, its test and its verdict."""

from studies.claims.judge import are_open, judge_claims, read_claims
from studies.claims.measure import (
    chance_after_divergence,
    chosen_layer,
    lower_bounds,
    measure_arm,
)
from studies.claims.schemas import ClaimVerdict
from studies.claims.wording import margin_of, ours, unit_of_statistic, words

__all__ = [
    "ClaimVerdict",
    "are_open",
    "chance_after_divergence",
    "chosen_layer",
    "judge_claims",
    "lower_bounds",
    "margin_of",
    "measure_arm",
    "ours",
    "read_claims",
    "unit_of_statistic",
    "words",
]
