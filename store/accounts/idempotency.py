"""Idempotency keys: the same key and the same request get the first response again."""

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.db import IdempotencyKey, KeyReused, Overtaken, User


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The response to the first request."""

    status_code: int
    response: dict[str, Any]


def find(session: Session, user: User, key: str, fingerprint: str) -> StoredResponse | None:
    """The first response, once it is committed; raises KeyReused."""
    row = session.get(IdempotencyKey, (user.id, key))
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise KeyReused
    return StoredResponse(row.status_code, row.response)


def claim_key(session: Session, user: User, key: str, fingerprint: str) -> StoredResponse | None:
    """The first response; None if this is the first request, which then must call `save` in this transaction.

    A second request with the key waits until the first one's transaction has ended. Raises KeyReused.
    """
    # There is no row yet that could be locked. The advisory lock ends with the transaction: the second
    # request then finds the row of the first, or, after a rollback, does the work itself. Keys whose 64 bits
    # collide would only wait for each other.
    session.execute(select(func.pg_advisory_xact_lock(_lock_number(user, key))))
    return find(session, user, key, fingerprint)


def save(
    session: Session,
    user: User,
    key: str,
    fingerprint: str,
    status_code: int,
    response: dict[str, Any],
) -> None:
    """Store the response, in the transaction that creates what was requested.

    Waits for another transaction that stores the key; raises Overtaken if that one is committed.
    """
    row = {
        "user_id": user.id,
        "key": key,
        "fingerprint": fingerprint,
        "status_code": status_code,
        "response": response,
    }
    statement = insert(IdempotencyKey).on_conflict_do_nothing().returning(IdempotencyKey.key)
    if session.execute(statement, row).one_or_none() is None:
        raise Overtaken


def _lock_number(user: User, key: str) -> int:
    digest = hashlib.blake2b(f"idempotency {user.id} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
