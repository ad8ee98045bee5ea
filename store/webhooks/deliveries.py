"""Messages on their way: which are due, and what became of each attempt."""

import random
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from store.access import everything, is_readable
from store.db import Delivery, Job, LimitReached, Page, Study, User, Webhook, newest_first

FIRST_DELAY_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 12 * 3600.0
#: Each delay is so many times the one before.
_GROWTH = 4.0
GIVEN_UP_AFTER = timedelta(days=3)
#: So long a message is kept, for whoever asks what became of it.
KEPT = timedelta(days=30)
#: Of one webhook, that have not arrived.
MOST_TESTS = 10

_WAITS = and_(Delivery.delivered_at.is_(None), Delivery.given_up_at.is_(None))


@dataclass(frozen=True, slots=True)
class Due:
    """A message to be sent now."""

    id: int
    webhook_id: int
    message_id: str
    url: str
    secret: str
    body: str
    attempts: int
    #: Whose webhook it is.
    user: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of an attempt: delivered, or why it failed; `is_final`: another attempt would be in vain."""

    failure: str | None = None
    is_final: bool = False


def due(session: Session, most: int, *, mail: bool) -> Sequence[Due]:
    """Of each webhook the message that has been due for longest, so that a receiver gets one at a time.

    `mail`: of webhooks that are addresses, else of all others.
    """
    is_mail = Webhook.format == "mail"
    # The next ones of the index: beside a thousand messages for one receiver, those of others are in the next batch.
    first = (
        select(Delivery.id, Delivery.webhook_id, Delivery.next_at)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .outerjoin(Study, Study.id == Delivery.study_id)
        .outerjoin(Job, Job.id == Delivery.job_id)
        .where(is_mail if mail else ~is_mail)
        .where(_WAITS, Delivery.next_at <= func.now(), _may_be_told())
        .order_by(Delivery.next_at, Delivery.id)
        .subquery()
    )
    chosen = (
        select(first.c.id)
        .ext(distinct_on(first.c.webhook_id))
        .order_by(first.c.webhook_id, first.c.next_at, first.c.id)
        .subquery()
    )
    statement = (
        select(
            Delivery.id,
            Delivery.webhook_id,
            Delivery.message_id,
            Webhook.url,
            Webhook.secret,
            Delivery.body,
            Delivery.attempts,
            User.name,
        )
        .join(chosen, chosen.c.id == Delivery.id)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .join(User, User.id == Webhook.user_id)
        .where(is_active())
        .order_by(Delivery.next_at, Delivery.id)
        .limit(most)
    )
    return [Due(*row) for row in session.execute(statement)]


def _may_be_told() -> ColumnElement[bool]:
    """Who was removed from a private project is told nothing of it any more."""
    return is_readable(func.coalesce(Study.project_id, Job.project_id), Webhook.user_id)


def list_deliveries(
    session: Session, webhook_ids: Collection[int], *, cursor: str | None = None, limit: int
) -> Page[Delivery]:
    """The messages of these webhooks that their people may still be told, newest first. Raises BadCursor."""
    statement = (
        select(Delivery)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .outerjoin(Study, Study.id == Delivery.study_id)
        .outerjoin(Job, Job.id == Delivery.job_id)
        .where(Delivery.webhook_id.in_(webhook_ids), _may_be_told())
    )
    # What is hidden from the reader would be joined as if it were in no project.
    with everything(session):
        return newest_first(session, statement, Delivery.id, cursor, limit)


def note(session: Session, outcomes: Mapping[Due, Outcome]) -> None:
    """What became of these attempts; of a message that was delivered meanwhile, a failure changes nothing."""
    # In the order of ids, like everything that locks several rows.
    for sent, outcome in sorted(outcomes.items(), key=lambda item: item[0].id):
        change = update(Delivery).where(Delivery.id == sent.id, Delivery.delivered_at.is_(None))
        values = {"attempts": Delivery.attempts + 1, "error": outcome.failure}
        if outcome.failure is None:
            session.execute(change.values(**values, delivered_at=func.now(), given_up_at=None))
            continue
        next_at = func.now() + timedelta(seconds=delay_seconds(sent.attempts + 1))
        is_late = next_at > Delivery.created_at + GIVEN_UP_AFTER
        given_up = func.now() if outcome.is_final else case((is_late, func.now()))
        session.execute(change.values(**values, next_at=next_at, given_up_at=given_up))


def delay_seconds(attempts: int) -> float:
    """Before the next attempt, after so many: about 10 s, 40 s, 3 min, 11 min, 43 min, 3 h, 11 h, 12 h …

    A quarter more or less by chance, so that a receiver that comes back isn't asked for everything at once.
    """
    growth = _GROWTH ** min(attempts - 1, 20)
    mean = min(FIRST_DELAY_SECONDS * growth, LONGEST_DELAY_SECONDS)
    return mean * random.uniform(0.75, 1.25)  # noqa: S311 - guards nothing


def add_test(session: Session, webhook: Webhook, body: str) -> Delivery:
    """A message that says nothing but that it arrives; each request makes another. Raises LimitReached."""
    tests = and_(Delivery.webhook_id == webhook.id, Delivery.event.startswith("test "))
    count = session.scalars(select(func.count()).where(tests, _WAITS)).one()
    if count >= MOST_TESTS:
        raise LimitReached(
            f"webhook {webhook.id} has {count} test messages that have not arrived: `normlab webhook list` says why"
        )
    message_id = new_message_id()
    delivery = Delivery(
        webhook_id=webhook.id, message_id=message_id, event=f"test {message_id}", body=body
    )
    session.add(delivery)
    session.flush()
    return delivery


def forget_old(session: Session) -> None:
    """Removes messages from long ago."""
    session.execute(delete(Delivery).where(Delivery.created_at < func.now() - KEPT))


def is_active() -> ColumnElement[bool]:
    """Whether the webhook of the statement gets messages: it has not expired, and its user is not disabled."""
    is_valid = or_(Webhook.expires_at.is_(None), Webhook.expires_at > func.now())
    return and_(is_valid, User.disabled_at.is_(None))


def new_message_id() -> str:
    return f"msg_{secrets.token_hex(12)}"
