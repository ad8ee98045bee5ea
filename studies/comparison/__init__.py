"""From result rows to a verdict: arms, scores, paired differences, confounds, decisions."""

from studies.comparison.compare import compare, read_comparison
from studies.comparison.confounds import (
    KIND_NAMES,
    find_differing,
    find_varying,
    is_covered,
    refuse_unknown_kinds,
)
from studies.comparison.differences import rule, shared_overlap
from studies.comparison.evidence import JobRecord, StudyEvidence, read_evidence
from studies.comparison.schemas import (
    Axis,
    Comparison,
    Confound,
    Decision,
    Difference,
    FrozenModel,
    Slope,
    VariantSummary,
)

__all__ = [
    "KIND_NAMES",
    "Axis",
    "Comparison",
    "Confound",
    "Decision",
    "Difference",
    "FrozenModel",
    "JobRecord",
    "Slope",
    "StudyEvidence",
    "VariantSummary",
    "compare",
    "find_differing",
    "find_varying",
    "is_covered",
    "read_comparison",
    "read_evidence",
    "refuse_unknown_kinds",
    "rule",
    "shared_overlap",
]
