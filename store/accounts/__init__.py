"""Users, tokens, idempotency keys, and the bootstrap of a new database."""

from store.accounts import idempotency, sessions, users
from store.accounts.bootstrap import bootstrap, ensure_strong, has_users, reset_admin

__all__ = [
    "bootstrap",
    "ensure_strong",
    "has_users",
    "idempotency",
    "reset_admin",
    "sessions",
    "users",
]
