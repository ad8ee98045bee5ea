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

from sqlalchemy import ColumnElement, Select, and_, or_

from store.db import BadCursor, Job
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


def ordered(statement: Select[Any], order: Order, cursor: str | None) -> Select[Any]:
    """The statement's rows in this order from the cursor on, with `KEY`. Raises BadCursor."""
    key = sql.key_of(order.field)
    if cursor is not None:
        # The condition is the order's, spelled out: PostgreSQL's row comparison `(key, id) > (…)` knows one
        # direction for all columns, and gives NULL where the key is NULL.
        statement = statement.where(_is_beyond(key, order, *_decode(cursor, order)))
    direction = (key.desc() if order.descending else key.asc()).nulls_last()
    return statement.add_columns(key.label(KEY)).order_by(None).order_by(direction, Job.id.desc())


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


def _is_beyond(
    key: ColumnElement[Any], order: Order, value: Any, job_id: int
) -> ColumnElement[bool]:
    older = Job.id < job_id
    if value is None:
        return and_(key.is_(None), older)
    # Equal keys go on by falling ids, whichever way the keys go; rows without a key come after all others.
    # Together the order is total, so that no row is on two pages or on none.
    farther = key < value if order.descending else key > value
    return or_(farther, and_(key == value, older), key.is_(None))


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
