"""Webhooks as people register, list and remove them. The secret is given out once, and never read here again."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, joinedload

from store.db import Delivery, LimitReached, Token, User, Webhook

#: Of one person.
MOST = 20
_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class NewTarget:
    """`study_id` or `project_id`: only of that one; neither: of all that is the person's own."""

    url: str
    format: str
    study_id: int | None = None
    project_id: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What became of a webhook's messages. `failure`: why the latest attempt at one that isn't delivered failed."""

    waiting: int = 0
    given_up: int = 0
    next_at: datetime | None = None
    delivered_at: datetime | None = None
    attempts: int = 0
    failure: str | None = None


def create(session: Session, user: User, token: Token, new: NewTarget) -> tuple[Webhook, str]:
    """With its secret. It gets no messages once the token that it is registered with has expired. Raises LimitReached."""
    # Locked, so that two requests at once can't both take the last place.
    locked = select(User).where(User.id == user.id).with_for_update(key_share=True)
    owner = session.scalars(locked).one()
    count = session.scalars(select(func.count()).where(Webhook.user_id == user.id)).one()
    if count >= MOST:
        raise LimitReached(
            f"{owner.name} has {count} webhooks and may have {MOST}: remove one that is not needed "
            "(`normlab webhook list`)"
        )
    secret = _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    webhook = Webhook(
        user=owner,
        token_id=token.id,
        url=new.url,
        format=new.format,
        study_id=new.study_id,
        project_id=new.project_id,
        secret=secret,
        expires_at=token.expires_at,
    )
    session.add(webhook)
    session.flush()
    return webhook, secret


def find(session: Session, webhook_id: int) -> Webhook | None:
    """With its user and project."""
    statement = select(Webhook).where(Webhook.id == webhook_id).options(*_LOADED)
    return session.scalars(statement.execution_options(populate_existing=True)).one_or_none()


def list_webhooks(session: Session, user: User | None = None) -> Sequence[Webhook]:
    """Of one person or of all, with users and projects, oldest first."""
    statement = select(Webhook).options(*_LOADED).order_by(Webhook.id)
    if user is not None:
        statement = statement.where(Webhook.user_id == user.id)
    return session.scalars(statement).all()


def remove(session: Session, webhook_id: int) -> None:
    """With its messages, also those that wait."""
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))


def read_states(session: Session, webhook_ids: Sequence[int]) -> Mapping[int, State]:
    """By webhook; all are there."""
    states = {webhook_id: State() for webhook_id in webhook_ids}
    waits = Delivery.delivered_at.is_(None) & Delivery.given_up_at.is_(None)
    has_failed = Delivery.delivered_at.is_(None) & Delivery.error.is_not(None)
    statement = (
        select(
            Delivery.webhook_id,
            func.count().filter(waits),
            func.count(Delivery.given_up_at),
            func.min(Delivery.next_at).filter(waits),
            func.max(Delivery.delivered_at),
            func.sum(Delivery.attempts),
            func.max(Delivery.id).filter(has_failed),
        )
        .where(Delivery.webhook_id.in_(webhook_ids))
        .group_by(Delivery.webhook_id)
    )
    rows = session.execute(statement).all()
    failed = [row[-1] for row in rows if row[-1] is not None]
    query = select(Delivery.webhook_id, Delivery.error).where(Delivery.id.in_(failed))
    errors = {row.webhook_id: row.error for row in session.execute(query)} if failed else {}
    for webhook_id, waiting, given_up, next_at, delivered_at, attempts, _ in rows:
        failure = errors.get(webhook_id)
        states[webhook_id] = State(waiting, given_up, next_at, delivered_at, int(attempts), failure)
    return states


_LOADED = joinedload(Webhook.user), joinedload(Webhook.project)
