"""The audit trail: who changed what, when and with which token, other than the status of jobs, which have a history of
their own. Rows are only ever added."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from sqlalchemy import insert, select
from sqlalchemy.orm import Session, joinedload

from store.accounts.authentication import Caller
from store.db import AuditRecord, Page, User, newest_first

Action: TypeAlias = Literal[
    "user.created",
    "user.changed",
    "token.created",
    "token.revoked",
    "session.opened",
    "identity.linked",
    "identity.unlinked",
    "webhook.created",
    "webhook.removed",
    "limits.changed",
    "device.reserved",
    "device.released",
    "checkpoints.removed",
    "dataset.registered",
    "job.annotated",
    "job.deleted",
    "study.deleted",
    "dataset.deleted",
    "project.created",
    "project.changed",
    "project.member_set",
    "project.member_removed",
    "project.deleted",
    "study.annotated",
    "study.declared",
]


def record(
    session: Session, caller: Caller, action: Action, subject: str, detail: Mapping[str, Any]
) -> None:
    """In the transaction of the change; `detail`: values for JSON, none of them a secret."""
    row = {
        "user_id": caller.user.id,
        "token_id": caller.token_id,
        "action": action,
        "subject": subject,
        "detail": dict(detail),
    }
    session.execute(insert(AuditRecord).values(row))


def list_records(
    session: Session,
    *,
    user: str | None = None,
    action: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[AuditRecord]:
    """Newest first, with their users and tokens; `user`: who made the changes. Raises BadCursor."""
    statement = select(AuditRecord).options(
        joinedload(AuditRecord.user), joinedload(AuditRecord.token)
    )
    if user is not None:
        statement = statement.join(User, User.id == AuditRecord.user_id).where(User.name == user)
    if action is not None:
        statement = statement.where(AuditRecord.action == action)
    return newest_first(session, statement, AuditRecord.id, cursor, limit)
