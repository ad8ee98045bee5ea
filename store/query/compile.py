"""A query as a condition in SQL: the rules of comparison. Where values are stored is in `store.query.sql`.

Where a value is missing, or is a number that isn't finite, every comparison is false, `!=` and `not in`,
too: `a != b` says that a is there and nothing in it equals b. `a = null` says that it is not there. `not`
is plain logic: `not a = b` holds where a is missing.
"""

from typing import assert_never

from sqlalchemy import ColumnElement, and_, not_, or_, true

from store.db import BadQuery
from store.query import sql
from store.query.expressions import And, Comparison, Expression, Membership, Not, Or, fields_named
from store.query.fields import find_field, is_outcome
from store.query.grammar import parse_query
from store.query.terms import ensure_operator, read_part, read_term


def compile_query(text: str | None, *, archived: bool = False) -> ColumnElement[bool]:
    """The text as a condition; archived jobs are left out unless it names `archived`, or `archived` is set.

    Raises BadQuery.
    """
    if text is None:
        return true() if archived else not_(sql.is_archived())
    expression = parse_query(text)
    matching = condition(expression)
    if archived or "archived" in fields_named(expression):
        return matching
    return and_(matching, not_(sql.is_archived()))


def outcomes_named(text: str | None) -> list[str]:
    """The fields in the query whose values follow from how trainings went. Raises BadQuery."""
    names = fields_named(parse_query(text)) if text is not None else set()
    return sorted(filter(is_outcome, names))


def condition(expression: Expression) -> ColumnElement[bool]:
    """True or false of every job, never NULL. Raises BadQuery."""
    match expression:
        case Comparison():
            return _comparison(expression)
        case Membership():
            return _membership(expression)
        case Not():
            return not_(condition(expression.operand))
        case And():
            return and_(*map(condition, expression.operands))
        case Or():
            return or_(*map(condition, expression.operands))
        case _:
            assert_never(expression)


def _comparison(comparison: Comparison) -> ColumnElement[bool]:
    field = find_field(comparison.field, comparison.position)
    ensure_operator(field, comparison.operator, comparison.operator_position)
    match comparison.operator:
        case "=" if comparison.term.value is None:
            return not_(sql.is_there(field))
        case "!=" if comparison.term.value is None:
            return sql.is_there(field)
        # Not SQL's `!=` on the values: a list is unequal only if none of its elements is equal, and where
        # there is nothing the answer is false, not NULL.
        case "!=":
            equal = sql.matches(field, "=", [read_term(field, comparison.term)])
            return and_(sql.is_there(field), not_(equal))
        case "~":
            return sql.contains(field, read_part(field, comparison.term))
        case operator:
            return sql.matches(field, operator, [read_term(field, comparison.term)])


def _membership(membership: Membership) -> ColumnElement[bool]:
    field = find_field(membership.field, membership.position)
    # One condition over all values, not one for each joined by OR: 200 values in a list would else search the
    # spec's document 200 times.
    is_member = sql.matches(field, "=", [read_term(field, term) for term in membership.terms])
    return and_(sql.is_there(field), not_(is_member)) if membership.negated else is_member


def point_at(text: str, error: BadQuery) -> str:
    """The error's message, the line in which it occurs, and a caret below its position."""
    position = min(error.position, len(text))
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].split("\n", 1)[0]
    # Windows of a long line; what has no width of one becomes a blank.
    first = max(0, position - start - _BEFORE)
    shown = "".join(
        one if one.isprintable() else " " for one in line[first : first + _BEFORE + _AFTER]
    )
    return f"{error.detail}\n  {shown}\n  {' ' * (position - start - first)}^"


_BEFORE, _AFTER = 70, 30
