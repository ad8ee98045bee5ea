"""What a study says of its search, and of each range in it."""

from studies.spec.search.ranges import AnyRange, Choice, FloatRange, IntRange
from studies.spec.search.search import FEWEST_PAIRED_SEEDS, Search, StopRule, Tpe

__all__ = [
    "FEWEST_PAIRED_SEEDS",
    "AnyRange",
    "Choice",
    "FloatRange",
    "IntRange",
    "Search",
    "StopRule",
    "Tpe",
]
