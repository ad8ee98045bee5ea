"""The query language, from text to SQL."""

from store.query import sql
from store.query.compile import compile_query, outcomes_named, point_at
from store.query.expressions import write_value
from store.query.fields import Field, Kind, find_field, is_outcome, known_fields
from store.query.spec_fields import spec_fields

__all__ = [
    "Field",
    "Kind",
    "compile_query",
    "find_field",
    "is_outcome",
    "known_fields",
    "outcomes_named",
    "point_at",
    "spec_fields",
    "sql",
    "write_value",
]
