"""Pages of rows, newest first, and the opaque cursors between them."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from store.db.errors import BadCursor

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows; `next_cursor` is None on the last page."""

    items: Sequence[Row]
    next_cursor: str | None


def newest_first(
    session: Session,
    statement: Select[Row],
    key: InstrumentedAttribute[int],
    cursor: str | None,
    limit: int,
) -> Page[Row]:
    """One page of `statement`, by descending `key`; raises BadCursor."""
    if cursor is not None:
        # By key, not by OFFSET: rows that are added while somebody pages neither repeat nor hide any, and the
        # last page costs as much as the first.
        statement = statement.where(key < decode_cursor(cursor))
    # One more than asked for shows whether there is a next page, without counting.
    rows = session.scalars(statement.order_by(key.desc()).limit(limit + 1)).unique().all()
    return cut(rows, key.key, limit)


def cut(rows: Sequence[Row], key: str, limit: int) -> Page[Row]:
    """A page of at most `limit` of the rows, of which `limit` + 1 were requested."""
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], encode_cursor(_key(rows[limit - 1], key)))


def encode_cursor(last: int) -> str:
    return base64.urlsafe_b64encode(f"id:{last}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The last id of the page before; raises BadCursor."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        prefix, _, digits = text.decode("ascii").partition(":")
    except (binascii.Error, UnicodeError, ValueError):
        raise BadCursor from None
    # The longest id is a bigint of 19 digits.
    if prefix != "id" or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise BadCursor
    return int(digits)


def _key(row: Any, key: str) -> int:
    value: int = row[key] if isinstance(row, dict) else getattr(row, key)
    return value
