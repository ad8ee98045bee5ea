"""People and tokens."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import authentication, users
from store.db.errors import LastAdmin, NameTaken, NotFound, OutlivesParent, TooManyTokens
from store.db.models import Token, User
from tests.support.factories import make_job, make_token, make_user

Sessions = sessionmaker[Session]


def test_a_secret_opens_the_door_and_is_not_kept(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        token, secret = users.create_token(session, ada, "laptop")

        found = authentication.authenticate(session, secret)

        assert found is not None
        assert (found.user.name, found.token_id, found.scope) == ("ada", token.id, "all")
        assert authentication.authenticate(session, secret + "x") is None
        assert authentication.authenticate(session, "") is None
    assert secret.startswith("nl_")
    assert len(secret) >= 40
    assert secret not in token.hash


def test_whoever_asks_with_a_token_that_only_reads_is_a_viewer(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = make_user(session, "ada", role="admin")
        _, secret = users.create_token(session, ada, "a dashboard", scope="read")
        caller = authentication.authenticate(session, secret)
        assert caller is not None
        assert (caller.user.id, caller.user.role, caller.scope) == (ada.id, "viewer", "read")
    with sessions.begin() as session:
        assert session.get_one(User, ada.id).role == "admin"


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

        assert authentication.authenticate(session, revoked) is None
        assert authentication.authenticate(session, expired) is None
        assert authentication.authenticate(session, good) is not None
        users.disable_user(session, user)
        assert authentication.authenticate(session, good) is None
        users.enable_user(session, user)
        assert authentication.authenticate(session, good) is not None


def test_use_is_noted_at_most_once_a_minute(sessions: Sessions) -> None:
    with sessions.begin() as session:
        secret = make_token(session, make_user(session))
        noted = []
        for age in (0, 30, 61):
            session.execute(
                update(Token).values(last_used_at=Token.last_used_at - timedelta(seconds=age))
            )
            before = session.scalars(select(Token.last_used_at)).one()
            authentication.authenticate(session, secret)
            noted.append(session.scalars(select(Token.last_used_at)).one() != before)

    assert noted == [True, False, True]


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


def test_a_token_expires_no_later_than_the_one_it_is_made_with(sessions: Sessions) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        user, other = make_user(session), make_user(session)
        parent, _ = users.create_token(session, user, "brief", now + timedelta(hours=1))

        child, _ = users.create_token(session, user, "child", parent=parent)
        grandchild, _ = users.create_token(session, other, "grandchild", parent=child)
        sooner = now + timedelta(minutes=1)
        shorter, _ = users.create_token(session, user, "shorter", sooner, parent=parent)

        assert child.expires_at == grandchild.expires_at == parent.expires_at
        assert shorter.expires_at == sooner
        with pytest.raises(OutlivesParent, match="no later than"):
            users.create_token(session, user, "longer", now + timedelta(hours=2), parent=child)
        forever, _ = users.create_token(session, user, "forever")
        assert users.create_token(session, user, "as long", parent=forever)[0].expires_at is None


def test_a_token_is_revoked_with_its_parent_unless_it_is_kept(sessions: Sessions) -> None:
    expected = {
        "own": ["child", "grandchild"],
        "all": ["child", "grandchild", "theirs"],
        "none": [],
    }
    children: users.Children
    for children in ("own", "all", "none"):
        with sessions.begin() as session:
            user, other = make_user(session), make_user(session)
            parent, secret = users.create_token(session, user, "parent")
            child, _ = users.create_token(session, user, "child", parent=parent)
            users.create_token(session, user, "grandchild", parent=child)
            users.create_token(session, other, "theirs", parent=child)
            _, apart = users.create_token(session, user, "apart")

            revoked = users.revoke_token(session, parent.id, children)

            assert [token.name for token in revoked] == ["parent", *expected[children]]
            assert authentication.authenticate(session, secret) is None
            assert authentication.authenticate(session, apart) is not None


def test_a_token_that_is_being_revoked_makes_no_other(sessions: Sessions) -> None:
    with sessions.begin() as session:
        parent, secret = users.create_token(session, make_user(session), "parent")
    made: list[Token | None] = []

    def make_child() -> None:
        with sessions.begin() as session:
            made.append(authentication.lock_token(session, secret))

    with sessions.begin() as session:
        users.revoke_token(session, parent.id)
        thread = threading.Thread(target=make_child)
        thread.start()
        while thread.is_alive() and not is_somebody_blocked(sessions):
            pass
    thread.join()
    assert made == [None]


@pytest.mark.parametrize("level", ["child", "grandchild"])
def test_a_token_that_is_being_made_is_revoked_with_its_parent(
    sessions: Sessions, level: str
) -> None:
    with sessions.begin() as session:
        user = make_user(session)
        parent, secret = users.create_token(session, user, "parent")
        if level == "grandchild":
            _, secret = users.create_token(session, user, "between", parent=parent)

    def revoke() -> None:
        with sessions.begin() as session:
            users.revoke_token(session, parent.id)

    with sessions.begin() as session:
        maker = authentication.lock_token(session, secret)
        _, made = users.create_token(session, user, level, parent=maker)
        thread = threading.Thread(target=revoke)
        thread.start()
        while thread.is_alive() and not is_somebody_blocked(sessions):
            pass
    thread.join()
    with sessions.begin() as session:
        assert authentication.authenticate(session, made) is None


def test_a_person_has_so_many_valid_tokens_and_no_more(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session, "ada")
        first, _ = users.create_token(session, user, "first", most=2)
        past = datetime.now(UTC) - timedelta(seconds=1)
        users.create_token(session, user, "expired", past, most=2)
        users.create_token(session, user, "second", most=2)
        with pytest.raises(TooManyTokens, match="ada has 2 valid tokens and may have 2"):
            users.create_token(session, user, "third", most=2)
        users.create_token(session, make_user(session), "another's", most=2)
        users.revoke_token(session, first.id)
        users.create_token(session, user, "third", most=2)


def test_two_requests_at_once_do_not_both_make_the_last_token(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = make_user(session)
    make = [lambda session: users.create_token(session, user, "last", most=1)] * 2
    assert [type(error) for error in at_once(sessions, *make)] == [TooManyTokens]
    with sessions.begin() as session:
        assert len(users.list_tokens(session)) == 1


def test_two_concurrent_demotions_leave_an_admin(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session, role="admin"), make_user(session, role="admin")
    errors = at_once(
        sessions,
        lambda session: users.set_role(session, ada, "member"),
        lambda session: users.set_role(session, bob, "viewer"),
    )
    assert [type(error) for error in errors] == [LastAdmin]
    assert len(active_admins(sessions)) == 1


def test_a_demotion_beside_a_disabling_leaves_an_admin(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session, role="admin"), make_user(session, role="admin")
    errors = at_once(
        sessions,
        lambda session: users.disable_user(session, ada),
        lambda session: users.set_role(session, bob, "member"),
    )
    assert [type(error) for error in errors] == [LastAdmin]
    assert len(active_admins(sessions)) == 1


def test_two_admins_who_revoke_their_last_tokens_at_once_leave_one(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session, role="admin"), make_user(session, role="admin")
        first = users.create_token(session, ada, "a")[0].id
        second = users.create_token(session, bob, "b")[0].id
    errors = at_once(
        sessions,
        lambda session: users.revoke_token(session, first),
        lambda session: users.revoke_token(session, second),
    )
    assert [type(error) for error in errors] == [LastAdmin]
    with sessions.begin() as session:
        assert len(users.list_tokens(session)) == 1


def test_a_demotion_leaves_an_admin_who_can_sign_in(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session, role="admin"), make_user(session, role="admin")
        make_token(session, ada)
        users.set_role(session, bob, "member")
        users.set_role(session, bob, "admin")
        with pytest.raises(LastAdmin, match="the last admin who can sign in"):
            users.disable_user(session, ada)


def test_a_last_admin_gets_another_token_before_the_last_is_revoked(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = make_user(session, role="admin")
        old, _ = users.create_token(session, ada, "old")
        new, secret = users.create_token(session, ada, "new", parent=old)
    with sessions() as session, pytest.raises(LastAdmin, match="create another token first"):
        users.revoke_token(session, old.id)
    with sessions.begin() as session:
        users.revoke_token(session, old.id, "none")
        assert authentication.authenticate(session, secret) is not None
    with sessions() as session, pytest.raises(LastAdmin):
        users.revoke_token(session, new.id)


def test_a_change_of_admins_waits_for_no_submission(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session, role="admin"), make_user(session, role="admin")
    with sessions.begin() as session:
        users.set_role(session, bob, "member")
        with sessions.begin() as other:
            other.execute(select(func.set_config("lock_timeout", "2s", True)))
            make_job(other, ada)


def at_once(sessions: Sessions, *changes: Callable[[Session], object]) -> list[Exception]:
    """What was raised by changes of which none commits before all are made, or wait for a lock."""
    made: list[object] = []

    def make(change: Callable[[Session], object]) -> Exception | None:
        try:
            with sessions.begin() as session:
                made.append(change(session))
                while len(made) < len(changes) and not is_somebody_blocked(sessions):
                    pass
        except Exception as error:
            return error
        return None

    with ThreadPoolExecutor(len(changes)) as pool:
        return [error for error in pool.map(make, changes) if error is not None]


def is_somebody_blocked(sessions: Sessions) -> bool:
    """Whether a transaction waits for a lock."""
    with sessions.begin() as session:
        waiting = session.scalars(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).one()
    return waiting > 0


def active_admins(sessions: Sessions) -> list[User]:
    with sessions.begin() as session:
        rows = users.list_users(session)
    return [user for user in rows if user.role == "admin" and user.disabled_at is None]
