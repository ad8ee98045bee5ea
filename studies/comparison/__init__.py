"""From result rows to a verdict: arms, scores, paired differences, confounds, decisions."""

from studies.comparison.compare import compare, read_comparison
from studies.comparison.confounds import KIND_NAMES, refuse_unknown_kinds
from studies.comparison.differences import shared_overlap
from studies.comparison.evidence import JobRecord, StudyEvidence, gather_evidence, read_evidence
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
    "Answer",
    "Axis",
    "Comparison",
    "Confound",
    "Difference",
    "JobRecord",
    "Outcome",
    "Slope",
    "StudyEvidence",
    "VariantSummary",
    "compare",
    "finite",
    "gather_evidence",
    "higher_is_better",
    "read_comparison",
    "read_evidence",
    "refuse_unknown_kinds",
    "score",
    "shared_overlap",
    "validation_metric",
]
