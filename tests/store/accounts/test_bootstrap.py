"""The first admin, made once in a database's life, and the way back for an operator who is locked out."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import authentication, users
from store.accounts.bootstrap import bootstrap, bootstrap_admin, reset_admin
from store.db.errors import BadSecret
from store.db.models import Token
from tests.support.factories import make_user

Sessions = sessionmaker[Session]
SECRET = "nl_" + "a" * 32
OTHER = "nl_" + "b" * 32


def role_of(sessions: Sessions, secret: str) -> str | None:
    with sessions.begin() as session:
        caller = authentication.authenticate(session, secret)
    return caller.user.role if caller else None


def make_admin(sessions: Sessions) -> None:
    """Another one, so that the first may go."""
    with sessions.begin() as session:
        users.create_token(session, make_user(session, role="admin"), "another")


def first_admin(session: Session) -> tuple[users.User, Token]:
    user = users.find(session, "admin")
    assert user is not None
    [token] = users.list_tokens(session, user)
    return user, token


def test_the_first_admin_is_made_once(sessions: Sessions, database_url: str) -> None:
    assert bootstrap(database_url, SECRET)
    assert not bootstrap(database_url, SECRET)
    assert not bootstrap(database_url, OTHER)
    assert not bootstrap(database_url, None)
    assert role_of(sessions, SECRET) == "admin"
    assert role_of(sessions, OTHER) is None


def test_two_starts_at_once_make_one_admin(sessions: Sessions) -> None:
    def start(secret: str) -> bool:
        with sessions.begin() as session:
            return bootstrap_admin(session, "admin", secret) is not None

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(start, (SECRET, OTHER))) == [False, True]
    with sessions.begin() as session:
        assert len(users.list_tokens(session)) == 1


def test_a_revoked_token_stays_revoked_at_the_next_start(
    sessions: Sessions, database_url: str
) -> None:
    bootstrap(database_url, SECRET)
    make_admin(sessions)
    with sessions.begin() as session:
        _, token = first_admin(session)
        users.revoke_token(session, token.id)

    assert not bootstrap(database_url, SECRET)

    assert role_of(sessions, SECRET) is None


@pytest.mark.parametrize("change", ["disabled", "viewer"])
def test_a_disabled_or_demoted_admin_stays_so_at_the_next_start(
    sessions: Sessions, database_url: str, change: str
) -> None:
    bootstrap(database_url, SECRET)
    make_admin(sessions)
    with sessions.begin() as session:
        user, _ = first_admin(session)
        if change == "disabled":
            users.disable_user(session, user)
        else:
            users.set_role(session, user, "viewer")

    assert not bootstrap(database_url, SECRET)
    assert not bootstrap(database_url, OTHER)

    assert role_of(sessions, SECRET) == (None if change == "disabled" else "viewer")
    assert role_of(sessions, OTHER) is None


@pytest.mark.parametrize("secret", ["nl_short", "a" * 31, "a" * 40 + " ", "é" * 40])
def test_a_secret_that_could_be_guessed_or_not_be_sent_makes_no_admin(
    sessions: Sessions, database_url: str, secret: str
) -> None:
    for make in (bootstrap, reset_admin):
        with pytest.raises(BadSecret, match="openssl rand"):
            make(database_url, secret)
    with sessions.begin() as session:
        assert users.list_users(session) == []


def test_a_reset_brings_the_admin_back_and_says_how(sessions: Sessions, database_url: str) -> None:
    bootstrap(database_url, SECRET)
    make_admin(sessions)
    with sessions.begin() as session:
        user, _ = first_admin(session)
        users.set_role(session, user, "viewer")
        users.disable_user(session, user)

    said = reset_admin(database_url, OTHER)

    assert [re.sub(r"since \S+,", "since …,", line) for line in said] == [
        "admin had been disabled since …, and is enabled again",
        "admin was a viewer, and is an admin again",
        "admin has a new token, reset-admin; the other tokens are unchanged",
    ]
    assert role_of(sessions, OTHER) == "admin"
    assert reset_admin(database_url, OTHER)[0].startswith("admin had this token already")


def test_a_reset_makes_an_admin_where_there_is_none(sessions: Sessions, database_url: str) -> None:
    assert reset_admin(database_url, SECRET)[0] == "created the user admin"
    assert role_of(sessions, SECRET) == "admin"


@pytest.mark.parametrize("state", ["revoked", "expired", "of another user"])
def test_a_reset_makes_no_refused_token_valid_again(
    sessions: Sessions, database_url: str, state: str
) -> None:
    bootstrap(database_url, OTHER)
    make_admin(sessions)
    with sessions.begin() as session:
        admin, _ = first_admin(session)
        owner = make_user(session, "eve") if state == "of another user" else admin
        past = datetime.now(UTC) - timedelta(days=1) if state == "expired" else None
        token, secret = users.create_token(session, owner, "old", past)
        if state == "revoked":
            users.revoke_token(session, token.id)
        users.disable_user(session, admin)

    with pytest.raises(BadSecret, match=f"{state.split()[0]}.*choose a new secret"):
        reset_admin(database_url, secret)

    assert role_of(sessions, OTHER) is None, "a refused reset enables nobody"
