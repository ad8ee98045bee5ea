"""A claim's statistic, its test and its verdict."""

from studies.claims.evidence import Evidence, lower_bounds, measured
from studies.claims.judge import judge_claims
from studies.claims.load import read_claims, read_evidence
from studies.claims.measure import Record, chance_after_divergence, chosen_layer
from studies.claims.schemas import ClaimVerdict
from studies.claims.wording import ours, unit_of_statistic, words

__all__ = [
    "ClaimVerdict",
    "Evidence",
    "Record",
    "chance_after_divergence",
    "chosen_layer",
    "judge_claims",
    "lower_bounds",
    "measured",
    "ours",
    "read_claims",
    "read_evidence",
    "unit_of_statistic",
    "words",
]
