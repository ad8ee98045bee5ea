"""A message is sent until it has arrived, with the same id, or is given up."""

import sys
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker, undefer
from standardwebhooks.webhooks import Webhook as Judge

from store.db.models import Delivery, Webhook
from store.webhooks import deliveries, targets
from tests.support.factories import (
    make_job,
    make_user,
)
from tests.support.receiver import Receiver, receiving
from tests.support.webhooks import LOOPBACK, count, fail, register
from worker.sweep.notifier import Notifier, queue_messages
from worker.sweep.sending import Sender

Sessions = sessionmaker[Session]


def hurry(sessions: Sessions) -> None:
    """The next attempt at every message is due."""
    with sessions.begin() as session:
        session.execute(update(Delivery).values(next_at=func.now()))


def test_a_message_is_sent_until_it_has_arrived(
    sessions: Sessions,
    own: Sessions,
    receiver: Receiver,
) -> None:
    receiver.answers = [500, 503, 302, "hang"]
    with sessions.begin() as session:
        ada = make_user(session)
        number, secret = register(session, ada, receiver.url)
        make_job(session, ada)
        fail(session, "the disk is on fire")
    # Too short for nothing but the receiver that hangs.
    notifier = Notifier(own, Sender(LOOPBACK, seconds=5.0), None)
    failures = []
    for _ in range(5):
        notifier.run()
        with sessions.begin() as session:
            state = targets.read_states(session, [number])[number]
        failures.append(state.failure)
        hurry(sessions)
    notifier.run()
    notifier.stop()

    assert failures == [
        "it answered 500",
        "it answered 503",
        "it answered 302: redirects are not followed",
        "it did not answer within 5 s",
        None,
    ]
    assert (state.waiting, state.attempts, state.given_up) == (0, 5, 0)
    assert {path for path, *_ in receiver.seen} == {"/hook"}
    assert len({headers["webhook-id"] for _, headers, _ in receiver.seen}) == 1
    for _, headers, body in receiver.seen:
        assert Judge(secret).verify(body, headers)["data"]["error"] == "the disk is on fire"
    assert len(receiver.seen) == 5


def test_a_receiver_that_hangs_keeps_no_other_from_its_messages(
    sessions: Sessions,
    own: Sessions,
    receiver: Receiver,
) -> None:
    receiver.answers = ["hang"] * 9
    with sessions.begin() as session, receiving() as other:
        ada = make_user(session)
        register(session, ada, receiver.url)
        register(session, ada, other.url)
        make_job(session, ada)
        fail(session, "once")
        session.commit()
        notifier = Notifier(own, Sender(LOOPBACK, seconds=3.0), None)
        notifier.run()
        notifier.stop()
        assert len(other.seen) == 1


def test_what_was_sent_and_not_noted_is_sent_again_with_its_id(
    sessions: Sessions,
    notifier: Notifier,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sessions.begin() as session:
        ada = make_user(session)
        register(session, ada, receiver.url)
        make_job(session, ada)
        fail(session, "once")
    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "note", lambda *_: sys.exit(1))
        with pytest.raises(SystemExit):
            notifier.run()
    notifier.run()
    assert len(receiver.seen) == 2
    assert len({headers["webhook-id"] for _, headers, _ in receiver.seen}) == 1


@pytest.mark.parametrize(("answer", "is_old"), [(410, False), (500, True)])
def test_a_message_is_given_up_after_three_days_or_where_the_receiver_is_gone(
    sessions: Sessions,
    notifier: Notifier,
    receiver: Receiver,
    answer: int,
    is_old: bool,
) -> None:
    receiver.answers = [answer] * 3
    with sessions.begin() as session:
        ada = make_user(session)
        number, _ = register(session, ada, receiver.url)
        make_job(session, ada)
        fail(session, "once")
    queue_messages(notifier._sessions, None)
    if is_old:
        with sessions.begin() as session:
            created_at = func.now() - timedelta(days=3)
            session.execute(update(Delivery).values(created_at=created_at))
    notifier.run()
    with sessions.begin() as session:
        state = targets.read_states(session, [number])[number]
    assert (state.waiting, state.given_up, state.failure) == (0, 1, f"it answered {answer}")


def test_delays_grow_from_seconds_to_half_a_day() -> None:
    delays = [deliveries.delay_seconds(attempts) for attempts in range(1, 12)]
    assert 7.5 <= delays[0] <= 12.5
    assert all(later > earlier for earlier, later in pairwise(delays[:6]))
    assert 32_400 <= delays[-1] <= 54_000


def test_messages_from_long_ago_are_forgotten(sessions: Sessions, own: Sessions) -> None:
    with sessions.begin() as session:
        number, _ = register(session, make_user(session), "https://hooks.example")
        webhook = session.get_one(Webhook, number, options=[undefer(Webhook.secret)])
        deliveries.add_test(session, webhook, "{}")
        old = deliveries.add_test(session, webhook, "{}")
        old.created_at = func.now() - timedelta(days=31)
    with own.begin() as session:
        deliveries.forget_old(session)
    assert count(sessions, Delivery) == 1
