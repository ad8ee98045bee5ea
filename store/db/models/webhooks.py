"""Webhooks, the messages for them, and the outbox: ends of jobs of which messages are still to be made."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.db.models.accounts import Project, User
from store.db.models.table import Table, one_of

WEBHOOK_FORMATS = ("standard", "slack", "mail")
#: A message that is neither delivered nor given up.
_WAITS = "delivered_at IS NULL AND given_up_at IS NULL"


class Webhook(Table):
    """A target for messages about all that its user owns, about one study, or about one project, whoever owns it: a URL
    that they are posted to or, in the format `mail`, `mailto:` and an address.

    `token_id`: the token with which it was registered; it goes when that one is revoked, and gets no messages after
    `expires_at`, when that one expires. `secret` signs the messages; only the workers' role can read it, hence not
    loaded unless it is asked for.
    """

    __tablename__ = "webhooks"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), index=True)
    study_id: Mapped[int | None] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), index=True
    )
    project_id: Mapped[int | None] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    url: Mapped[str]
    format: Mapped[str]
    secret: Mapped[str] = mapped_column(deferred=True, deferred_raiseload=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="raise")
    project: Mapped[Project | None] = relationship(lazy="raise")
    __table_args__ = (
        CheckConstraint(one_of("format", WEBHOOK_FORMATS), name="format"),
        CheckConstraint("study_id IS NULL OR project_id IS NULL", name="subject"),
    )


class EndedJob(Table):
    """The outbox: a job that has ended in this row's transaction, while a webhook concerned it.

    Rows are only added and removed, never changed: ends of many jobs of one study don't wait for one another.
    """

    __tablename__ = "ended_jobs"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)


class Delivery(Table):
    """A message for a webhook. `message_id` is the same in each attempt; `event`: what it tells, once to each webhook.

    `body` is what is sent; `error`: why the last attempt failed, in a sentence.
    """

    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    study_id: Mapped[int | None] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), index=True
    )
    job_id: Mapped[int | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), index=True
    )
    message_id: Mapped[str] = mapped_column(unique=True)
    event: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]
    webhook: Mapped[Webhook] = relationship(lazy="raise")
    __table_args__ = (
        UniqueConstraint("webhook_id", "event"),
        Index("ix_deliveries_waiting", "next_at", "id", postgresql_where=text(_WAITS)),
    )
