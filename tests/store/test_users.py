"""People and tokens."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from store import users
from store.errors import NameTaken, NotFound
from store.models import Token
from tests.factories import make_token, make_user

Sessions = sessionmaker[Session]


def test_a_secret_opens_the_door_and_is_not_kept(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        token, secret = users.create_token(session, ada, "laptop")

        found = users.authenticate(session, secret)

        assert found is not None
        assert found.name == "ada"
        assert users.authenticate(session, secret + "x") is None
        assert users.authenticate(session, "") is None
    assert secret.startswith("nl_")
    assert len(secret) >= 40
    assert secret not in token.hash


def test_a_revoked_an_expired_and_a_disabled_persons_token_open_nothing(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        user = make_user(session)
        token, revoked = users.create_token(session, user, "a")
        users.revoke_token(session, token.id)
        users.revoke_token(session, token.id)
        past = datetime.now(UTC) - timedelta(seconds=1)
        _, expired = users.create_token(session, user, "b", past)
        good = make_token(session, user)

        assert users.authenticate(session, revoked) is None
        assert users.authenticate(session, expired) is None
        assert users.authenticate(session, good) is not None
        users.disable_user(session, user)
        assert users.authenticate(session, good) is None
        users.enable_user(session, user)
        assert users.authenticate(session, good) is not None


def test_use_is_noted_at_most_once_a_minute(sessions: Sessions) -> None:
    with sessions.begin() as session:
        secret = make_token(session, make_user(session))
        noted = []
        for age in (0, 30, 61):
            session.execute(
                update(Token).values(last_used_at=Token.last_used_at - timedelta(seconds=age))
            )
            before = session.scalars(select(Token.last_used_at)).one()
            users.authenticate(session, secret)
            noted.append(session.scalars(select(Token.last_used_at)).one() != before)

    assert noted == [True, False, True]


def test_the_first_admin_is_made_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        users.bootstrap_admin(session, "root", "nl_secret")
        users.bootstrap_admin(session, "root", "nl_secret")

        assert [(user.name, user.role) for user in users.list_users(session)] == [("root", "admin")]
        assert len(users.list_tokens(session)) == 1
        found = users.authenticate(session, "nl_secret")
    assert found is not None
    assert found.role == "admin"


def test_a_name_is_taken_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_user(session, "ada")
        with pytest.raises(NameTaken, match="ada"):
            make_user(session, "ada")
        assert users.find(session, "ada") is not None
        assert users.find(session, "bob") is None


def test_a_role_changes(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session, role="viewer")
        users.set_role(session, user, "member")
        assert [one.role for one in users.list_users(session)] == ["member"]


def test_tokens_are_listed_with_their_users_without_the_revoked(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        token, _ = users.create_token(session, ada, "old")
        users.create_token(session, ada, "new")
        users.create_token(session, bob, "his")
        users.revoke_token(session, token.id)

    with sessions.begin() as session:
        assert [(one.user.name, one.name) for one in users.list_tokens(session)] == [
            ("bob", "his"),
            ("ada", "new"),
        ]
        assert [one.name for one in users.list_tokens(session, ada)] == ["new"]


def test_an_unknown_token_is_not_found(sessions: Sessions) -> None:
    with sessions.begin() as session, pytest.raises(NotFound):
        users.revoke_token(session, 10**9)
