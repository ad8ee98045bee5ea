"""Requests that are repeated."""

import threading

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import idempotency
from store.accounts.idempotency import StoredResponse
from store.db.errors import KeyReused, Overtaken
from store.db.models import Job, User
from tests.support.factories import make_job, make_user

Sessions = sessionmaker[Session]


def test_the_same_request_gets_the_first_answer(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session)
        assert idempotency.claim_key(session, user, "key", "print") is None
        idempotency.save(session, user, "key", "print", 202, {"id": 1})

    with sessions.begin() as session:
        assert idempotency.claim_key(session, user, "key", "print") == StoredResponse(
            202, {"id": 1}
        )


def test_a_different_request_with_the_same_key_is_refused(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session)
        idempotency.save(session, user, "key", "print", 202, {})

        with pytest.raises(KeyReused):
            idempotency.claim_key(session, user, "key", "other print")


def test_a_key_is_its_users_own(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session), make_user(session)
        idempotency.save(session, ada, "key", "print", 202, {})

        assert idempotency.claim_key(session, bob, "key", "other print") is None


def test_a_request_that_failed_leaves_the_key_free(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session)
    with sessions() as session:
        idempotency.save(session, user, "key", "print", 202, {})
        session.rollback()

    with sessions.begin() as session:
        assert idempotency.claim_key(session, user, "key", "other print") is None


def test_a_key_that_was_stored_meanwhile_is_not_stored_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session)
        idempotency.save(session, user, "key", "print", 202, {"id": 1})

    with sessions() as session:
        with pytest.raises(Overtaken):
            idempotency.save(session, user, "key", "print", 202, {"id": 2})
        assert idempotency.find(session, user, "key", "print") == StoredResponse(202, {"id": 1})


def test_the_same_request_many_times_at_once_creates_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session)
    answers: list[dict[str, int]] = []
    start = threading.Barrier(5)

    def request() -> None:
        start.wait()
        with sessions.begin() as session:
            stored = idempotency.claim_key(session, user, "key", "print")
            if stored is None:
                answer = {"id": make_job(session, session.get_one(User, user.id)).id}
                idempotency.save(session, user, "key", "print", 202, answer)
            else:
                answer = stored.response
        answers.append(answer)

    threads = [threading.Thread(target=request) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with sessions.begin() as session:
        made = session.scalars(select(Job.id)).one()
    assert answers == [{"id": made}] * 5
