"""Which operators a field takes and what its values may be."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from store.db import BadQuery
from store.query.expressions import Operator, Term, write_value
from store.query.fields import MOST_LISTED, Field, Kind, meant
from trainer.problems import listed


@dataclass(frozen=True, slots=True)
class Span:
    """A date is its whole day, in UTC; any other time a microsecond. `end` is not in it."""

    start: datetime
    end: datetime


Typed: TypeAlias = str | int | float | bool | Span

_ORDER: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=")
_OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    Kind.NUMBER: _ORDER,
    Kind.TEXT: ("=", "!=", "~"),
    Kind.CHOICE: ("=", "!=", "~"),
    Kind.FLAG: ("=", "!="),
    Kind.TIME: _ORDER,
}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)


def ensure_operator(field: Field, operator: Operator, position: int) -> None:
    """Raises BadQuery where this operator means nothing for the field."""
    operators = _OPERATORS[field.kind]
    if operator not in operators:
        detail = f"{field.name} is {field.kind.value}, which does not support {operator}"
        raise BadQuery(f"{detail}; use one of {' '.join(operators)} in, not in", position)


def read_term(field: Field, term: Term) -> Typed:
    """The value as one of the field's. Raises BadQuery at the value."""
    if term.value is None:
        raise BadQuery("null takes = and != alone: it means that there is no value", term.position)
    match field.kind:
        case Kind.NUMBER:
            return _number(field, term)
        case Kind.TEXT:
            return _text(field, term)
        case Kind.CHOICE:
            return _choice(field, term)
        case Kind.FLAG:
            return _flag(field, term)
        case Kind.TIME:
            return _span(field, term)


def read_part(field: Field, term: Term) -> str:
    """The text that a value has to contain. Raises BadQuery at the value."""
    if term.value is None:
        raise BadQuery("null takes = and != alone: it means that there is no value", term.position)
    return _text(field, term)


def _number(field: Field, term: Term) -> int | float:
    value = term.value
    # In Python True is an int, but `seed = true` is a mistake.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if field.name == "id" and isinstance(value, str) and re.fullmatch(r"j[0-9]{1,15}", value):
        return int(value[1:])
    raise _wrong(field, term)


def _text(field: Field, term: Term) -> str:
    match term.value:
        case str() as text:
            return text
        case int() as number if not isinstance(number, bool):
            return str(number)
        case other:
            written = write_value(other)
            detail = f"{field.name} is text but got {written}; write '{written}'"
            raise BadQuery(detail, term.position)


def _choice(field: Field, term: Term) -> str:
    if term.value in field.choices and isinstance(term.value, str):
        return term.value
    written = str(term.value) if isinstance(term.value, str) else write_value(term.value)
    close = meant(written, field.choices)
    hint = f"did you mean {close}? " if close else ""
    detail = f"{field.name} cannot be {written[:60]!r}; {hint}it is one of {listed(field.choices, MOST_LISTED)}"
    raise BadQuery(detail, term.position)


def _flag(field: Field, term: Term) -> bool:
    if isinstance(term.value, bool):
        return term.value
    raise _wrong(field, term)


def _span(field: Field, term: Term) -> Span:
    match = _TIME.fullmatch(term.value) if isinstance(term.value, str) else None
    if match is None:
        raise _wrong(
            field, term, "write a date like 2026-11-26 or a time like 2026-11-26T09:30:00Z"
        )
    try:
        # Python reads T and Z in upper case only, and RFC 3339 allows both.
        start = datetime.fromisoformat(match[0].upper())
        if start.tzinfo is None:
            start = start.replace(tzinfo=UTC)
        length = timedelta(days=1) if match[0] == match[1] else timedelta(microseconds=1)
        return Span(start.astimezone(UTC), (start + length).astimezone(UTC))
    except (ValueError, OverflowError):
        raise BadQuery(f"{match[0]} is not a valid time", term.position) from None


def _wrong(field: Field, term: Term, right: str | None = None) -> BadQuery:
    detail = f"{field.name} is {field.kind.value} but got {write_value(term.value)[:60]}"
    return BadQuery(f"{detail}; {right}" if right else detail, term.position)
