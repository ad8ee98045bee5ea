"""Results across studies: export, groups, leaderboards."""

from studies.results import export
from studies.results.export import flat_row, in_order, not_finite, simple
from studies.results.grouping import Group, arrange, describe_groups
from studies.results.leaderboard import Entry, ValidationMetric, rank

__all__ = [
    "Entry",
    "Group",
    "ValidationMetric",
    "arrange",
    "describe_groups",
    "export",
    "flat_row",
    "in_order",
    "not_finite",
    "rank",
    "simple",
]
