"""Results across studies: export, groups, leaderboards, and groups side by side."""

from studies.results import export
from studies.results.export import Header, flat_metrics, flat_spec, simple
from studies.results.findings import ComparedGroup, SideBySide
from studies.results.grouping import Group, arrange, describe_groups
from studies.results.leaderboard import Entry, ValidationMetric, rank
from studies.results.side_by_side import MOST_JOBS, choose_reference, compare_sides
from studies.results.sides import MOST_SIDES, Side, group_by_arm, group_by_fields
from studies.results.table import write_csv

__all__ = [
    "MOST_JOBS",
    "MOST_SIDES",
    "ComparedGroup",
    "Entry",
    "Group",
    "Header",
    "Side",
    "SideBySide",
    "ValidationMetric",
    "arrange",
    "choose_reference",
    "compare_sides",
    "describe_groups",
    "export",
    "flat_metrics",
    "flat_spec",
    "group_by_arm",
    "group_by_fields",
    "rank",
    "simple",
    "write_csv",
]
