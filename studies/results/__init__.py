"""Results across studies: export, groups, leaderboards."""

from studies.results import export
from studies.results.export import flat_row, in_order, not_finite, simple
from studies.results.grouping import Group, arrange, group_rows
from studies.results.leaderboard import Entry, ValidationMetric, rank

__all__ = [
    "Entry",
    "Group",
    "ValidationMetric",
    "arrange",
    "export",
    "flat_row",
    "group_rows",
    "in_order",
    "not_finite",
    "rank",
    "simple",
]
