"""The study document: variants, matrix, claims, panels, tuning, search; and its expansion into cells."""

from studies.spec.arms import find_arm
from studies.spec.claims import (
    Claim,
    Combined,
    CurveOf,
    DiagnosticOf,
    Diverged,
    Gain,
    Logarithm,
    MetricOf,
    Spread,
    Statistic,
    StepsToReach,
    Take,
)
from studies.spec.differences import Difference, leaves, list_differences
from studies.spec.expand import Cell, expand, expand_parts
from studies.spec.merge import ALTERNATIVES, locate, merged
from studies.spec.overrides import OverrideError, override, pointer_of
from studies.spec.panels import (
    ArraysPanel,
    BarsPanel,
    CurvesPanel,
    FansPanel,
    LayersPanel,
    LooksPanel,
    OverPanel,
    Panel,
)
from studies.spec.parts import collect_problems, part_of, read_job_parts, read_study_parts
from studies.spec.refusals import (
    refuse_idle_factor,
    refuse_other_sampler,
    refuse_unfair_settings,
    refuse_unplanned_seeds,
)
from studies.spec.search import AnyRange, Choice, FloatRange, IntRange, Search, StopRule, Tpe
from studies.spec.space import ArmSpace
from studies.spec.study import (
    ENOUGH_SEEDS,
    Splits,
    StudyError,
    StudySpec,
    arm_name,
    is_study,
    read_study,
)
from studies.spec.trials import (
    count_trials,
    expand_extremes,
    expand_setting,
    expand_trials,
)
from studies.spec.tuning import Setting

__all__ = [
    "ALTERNATIVES",
    "ENOUGH_SEEDS",
    "AnyRange",
    "ArmSpace",
    "ArraysPanel",
    "BarsPanel",
    "Cell",
    "Choice",
    "Claim",
    "Combined",
    "CurveOf",
    "CurvesPanel",
    "DiagnosticOf",
    "Difference",
    "Diverged",
    "FansPanel",
    "FloatRange",
    "Gain",
    "IntRange",
    "LayersPanel",
    "Logarithm",
    "LooksPanel",
    "MetricOf",
    "OverPanel",
    "OverrideError",
    "Panel",
    "Search",
    "Setting",
    "Splits",
    "Spread",
    "Statistic",
    "StepsToReach",
    "StopRule",
    "StudyError",
    "StudySpec",
    "Take",
    "Tpe",
    "arm_name",
    "collect_problems",
    "count_trials",
    "expand",
    "expand_extremes",
    "expand_parts",
    "expand_setting",
    "expand_trials",
    "find_arm",
    "is_study",
    "leaves",
    "list_differences",
    "locate",
    "merged",
    "override",
    "part_of",
    "pointer_of",
    "read_job_parts",
    "read_study",
    "read_study_parts",
    "refuse_idle_factor",
    "refuse_other_sampler",
    "refuse_unfair_settings",
    "refuse_unplanned_seeds",
]
