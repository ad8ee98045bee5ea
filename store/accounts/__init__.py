"""Users, tokens, idempotency keys, and what a new service needs."""

from store.accounts import idempotency, users
from store.accounts.bootstrap import bootstrap, ensure_strong, has_users, reset_admin

__all__ = [
    "bootstrap",
    "ensure_strong",
    "has_users",
    "idempotency",
    "reset_admin",
    "users",
]
