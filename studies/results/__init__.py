"""Results across studies: export, groups, leaderboards."""

from studies.results import export
from studies.results.export import Header, flat_metrics, flat_spec, simple
from studies.results.grouping import Group, arrange, describe_groups
from studies.results.leaderboard import Entry, ValidationMetric, rank

__all__ = [
    "Entry",
    "Group",
    "Header",
    "ValidationMetric",
    "arrange",
    "describe_groups",
    "export",
    "flat_metrics",
    "flat_spec",
    "rank",
    "simple",
]
