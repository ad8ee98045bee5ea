"""From result rows to a verdict: arms, scores, paired differences, confounds, decisions."""

from studies.comparison.compare import compare, read_comparison
from studies.comparison.confounds import KIND_NAMES, refuse_unknown_kinds
from studies.comparison.differences import shared_overlap
from studies.comparison.evidence import JobRecord, StudyEvidence, read_evidence
from studies.comparison.schemas import (
    Axis,
    Comparison,
    Difference,
    FrozenModel,
    Slope,
    VariantSummary,
)

__all__ = [
    "KIND_NAMES",
    "Axis",
    "Comparison",
    "Difference",
    "FrozenModel",
    "JobRecord",
    "Slope",
    "StudyEvidence",
    "VariantSummary",
    "compare",
    "read_comparison",
    "read_evidence",
    "refuse_unknown_kinds",
    "shared_overlap",
]
