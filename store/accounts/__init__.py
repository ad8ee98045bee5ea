"""Users, tokens, the audit trail, idempotency keys, and the bootstrap of a new database."""

from store.accounts import audit, authentication, idempotency, identities, sessions, users
from store.accounts.bootstrap import bootstrap, ensure_strong, has_users, reset_admin

__all__ = [
    "audit",
    "authentication",
    "bootstrap",
    "ensure_strong",
    "has_users",
    "idempotency",
    "identities",
    "reset_admin",
    "sessions",
    "users",
]
