"""People and their tokens, their projects and datasets, and requests already accepted."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.db.models.table import Table, one_of

ROLES = ("admin", "member", "viewer")
#: What a token may be used for: all that its user may do, or only to read, as a viewer.
SCOPES = ("all", "read")
#: Who may read a project: everybody, or those who are listed.
VISIBILITIES = ("open", "private")


class User(Table):
    """A user; `name` identifies them everywhere. `weight`: twice as much is twice the share (`store.jobs.usage`).

    `unlinked_at`: when an administrator last took it from those who open it at an identity provider.
    """

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    weight: Mapped[float] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    unlinked_at: Mapped[datetime | None]
    __table_args__ = (
        CheckConstraint(one_of("role", ROLES), name="role"),
        CheckConstraint("weight > 0", name="weight"),
    )


class Token(Table):
    """A bearer token; only its hash is kept. `parent_id`: the token with which it was made."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str] = mapped_column(server_default="all")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("tokens.id", ondelete="SET NULL"), index=True
    )
    user: Mapped[User] = relationship(lazy="raise")
    __table_args__ = (CheckConstraint(one_of("scope", SCOPES), name="scope"),)


class BrowserSession(Table):
    """A browser that somebody has logged in with a token; valid no longer than that one."""

    __tablename__ = "browser_sessions"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), index=True)
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class ProviderIdentity(Table):
    """Who somebody is at an identity provider (`issuer`, `subject`), and here.

    `token_id`: the token that their browsers' sessions belong to; nobody knows its secret. None before the first login.
    """

    __tablename__ = "identities"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    token_id: Mapped[int | None] = mapped_column(
        ForeignKey("tokens.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    user: Mapped[User] = relationship(lazy="raise")
    __table_args__ = (UniqueConstraint("issuer", "subject"),)


class AuditRecord(Table):
    """Who changed what, when and with which token (`store.accounts.audit`)."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    token_id: Mapped[int | None] = mapped_column(ForeignKey("tokens.id", ondelete="SET NULL"))
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]
    user: Mapped[User] = relationship(lazy="raise")
    token: Mapped[Token | None] = relationship(lazy="raise")
    __table_args__ = (Index("ix_audit_user_id_id", "user_id", "id"),)


class IdempotencyKey(Table):
    """A request already accepted: the same key and body give the same answer again."""

    __tablename__ = "idempotency_keys"
    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status_code: Mapped[int]
    response: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Project(Table):
    """A named group of studies and jobs, created at first use. `experiment_id`: its experiment in MLflow, even if renamed there.

    What `visibility` means is in `store.access.rule`.
    """

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    experiment_id: Mapped[str | None]
    visibility: Mapped[str] = mapped_column(server_default="open")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    owner: Mapped[User] = relationship(lazy="raise")
    __table_args__ = (
        CheckConstraint(one_of("visibility", VISIBILITIES), name="visibility"),
        # Each request asks for the private ones; usually there are few.
        Index("ix_projects_private", "id", postgresql_where=text("visibility = 'private'")),
    )


class ProjectMember(Table):
    """Somebody's role in a project; its creator is its first admin.

    `follows_groups`: nobody here has given it, but the person's groups at the identity provider.
    """

    __tablename__ = "project_members"
    project_id: Mapped[int] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str]
    follows_groups: Mapped[bool] = mapped_column(server_default=false())
    added_at: Mapped[datetime] = mapped_column(server_default=func.now())
    user: Mapped[User] = relationship(lazy="raise")
    __table_args__ = (CheckConstraint(one_of("role", ROLES), name="role"),)


class Dataset(Table):
    """A registered dataset: `source` as posted, `info` (trainer.spec.DatasetInfo) once decoded."""

    __tablename__ = "datasets"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    source: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default="registering")
    info: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        CheckConstraint(one_of("status", ("registering", "ready", "failed")), name="status"),
    )
