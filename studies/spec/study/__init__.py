"""The study document: its fields, how it is read, and the names of its arms."""

from studies.spec.study.arm_names import PRETRAINING, arm_name
from studies.spec.study.document import ENOUGH_SEEDS, Spending, Splits, StudySpec
from studies.spec.study.reading import StudyError, is_study, read_study

__all__ = [
    "ENOUGH_SEEDS",
    "PRETRAINING",
    "Spending",
    "Splits",
    "StudyError",
    "StudySpec",
    "arm_name",
    "is_study",
    "read_study",
]
