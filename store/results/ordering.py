"""The order of result rows and the pages through it.

Rows without a value come last whichever way it is sorted, and of equal rows the newest job first.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, or_

from store.db import BadCursor, Result
from store.query import Field, Kind, find_field, sql

#: The column of a row that its place in the order is read from.
KEY = "sort_key"


@dataclass(frozen=True, slots=True)
class Order:
    """By rising values, or by falling ones."""

    field: Field
    descending: bool

    @property
    def text(self) -> str:
        return f"{'-' if self.descending else ''}{self.field.place}:{self.field.name}"


def parse_order(text: str) -> Order:
    """`optimizer.lr` for rising, `-best.val_accuracy` for falling values. Raises BadQuery."""
    name = text.strip()
    descending = name.startswith("-")
    position = text.index(name) + descending
    return Order(find_field(name[descending:], position), descending)


def key_of(order: Order) -> ColumnElement[Any]:
    """The value that rows are ordered by, as `KEY`."""
    return sql.key_of(order.field).label(KEY)


def sequence(
    order: Order, key: ColumnElement[Any], job_id: SQLColumnExpression[int]
) -> list[ColumnElement[Any]]:
    """What to order rows of this key and job by."""
    return [(key.desc() if order.descending else key.asc()).nulls_last(), job_id.desc()]


def conditions_beyond(cursor: str, order: Order) -> list[ColumnElement[bool]]:
    """Which rows come after the cursor, as conditions to be read one after the other. Raises BadCursor.

    One range of the order each, so that an index can begin at it: those with a value, then those without.
    """
    key = sql.key_of(order.field)
    value, job_id = _decode(cursor, order)
    older = Result.job_id < job_id
    if value is None:
        return [and_(key.is_(None), older)]
    # Equal keys go on by falling ids, whichever way the keys go; rows without a key come after all others.
    # Together the order is total, so that no row is on two pages or on none. PostgreSQL's row comparison
    # `(key, id) > (…)` knows one direction for all columns; the first condition is the one that an index takes.
    at_or_beyond = key <= value if order.descending else key >= value
    return [and_(at_or_beyond, or_(key != value, older)), key.is_(None)]


def cursor_after(row: Mapping[str, Any], job_id: int, order: Order) -> str:
    """Where the page that ends with this row goes on."""
    value = row[KEY]
    if isinstance(value, datetime):
        value = value.isoformat()
    # The order is part of the cursor: one that was made by another order would be a valid place in this one,
    # and silently skip rows. JSON keeps every digit of a float, so that rows of an equal value are found
    # again as equal.
    text = json.dumps([order.text, value, job_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, order: Order) -> tuple[Any, int]:
    """The last row's value and job. Raises BadCursor."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        document = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
        text, value, job_id = document
        if text != order.text or type(job_id) is not int or not 0 < job_id < 2**63:
            raise BadCursor
        return _value(value, order.field.kind), job_id
    except (binascii.Error, ValueError, TypeError, RecursionError, OverflowError):
        raise BadCursor from None


def _value(value: Any, kind: Kind) -> Any:
    """Raises BadCursor, ValueError or TypeError for what is none of this kind."""
    match kind:
        case _ if value is None:
            return None
        case Kind.NUMBER if type(value) in (int, float) and math.isfinite(value):
            return float(value)
        case Kind.TIME:
            time = datetime.fromisoformat(value)
            if time.tzinfo is None:
                raise BadCursor
            return time
        case Kind.TEXT | Kind.CHOICE | Kind.FLAG if isinstance(value, str):
            value.encode()
            if "\0" not in value:
                return value
    raise BadCursor
