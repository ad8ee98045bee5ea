"""From result rows to a verdict: arms, scores, paired differences, confounds, decisions."""

from studies.comparison.arms import Arm, group
from studies.comparison.confounds import KIND_NAMES, find_confounds, refuse_unknown_kinds
from studies.comparison.differences import shared_overlap
from studies.comparison.load import read_comparison
from studies.comparison.planned_seeds import Analysis, plan_analysis
from studies.comparison.schemas import (
    Answer,
    Axis,
    Comparison,
    Confound,
    Difference,
    Slope,
    VariantSummary,
)
from studies.comparison.scoring import (
    Outcome,
    finite,
    higher_is_better,
    score,
    validation_metric,
)

__all__ = [
    "KIND_NAMES",
    "Analysis",
    "Answer",
    "Arm",
    "Axis",
    "Comparison",
    "Confound",
    "Difference",
    "Outcome",
    "Slope",
    "VariantSummary",
    "find_confounds",
    "finite",
    "group",
    "higher_is_better",
    "plan_analysis",
    "read_comparison",
    "refuse_unknown_kinds",
    "score",
    "shared_overlap",
    "validation_metric",
]
