"""What a study says of its search, and of each range in it."""

from studies.spec.search.ranges import AnyRange, Choice, FloatRange, IntRange
from studies.spec.search.search import Search, StopRule, Tpe

__all__ = ["AnyRange", "Choice", "FloatRange", "IntRange", "Search", "StopRule", "Tpe"]
