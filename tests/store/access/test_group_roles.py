"""Roles that follow groups at the identity provider, beside people who give roles at the same moment."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from store.access import ProjectRole, group_roles, members
from store.catalog import projects
from store.db import Project, ProjectMember, User
from tests.support.factories import make_user
from tests.support.waiting import wait_for

Sessions = sessionmaker[Session]


def read_role(sessions: Sessions) -> tuple[str, bool] | None:
    with sessions.begin() as session:
        row = session.execute(
            select(ProjectMember.role, ProjectMember.follows_groups)
            .join(User, User.id == ProjectMember.user_id)
            .where(User.name == "ada")
        ).one_or_none()
        return None if row is None else (row.role, row.follows_groups)


@pytest.fixture
def log_in(sessions: Sessions) -> Callable[[], None]:
    """As ada, whose groups make her a member of project `atlas`."""
    with sessions.begin() as session:
        projects.get_or_create(session, "atlas", make_user(session, "owner"))
        make_user(session, "ada")

    def run() -> None:
        with sessions.begin() as session:
            session.execute(text("SET LOCAL application_name = 'login'"))
            group_roles.follow(session, find_ada(session), {"atlas": "member"})

    return run


def find_ada(session: Session) -> User:
    return session.scalars(select(User).where(User.name == "ada")).one()


def find_atlas(session: Session) -> Project:
    return session.scalars(select(Project).where(Project.name == "atlas")).one()


def is_login_waiting(sessions: Sessions) -> bool:
    statement = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'login' AND wait_event_type = 'Lock'"
    )
    # A transaction of its own: within one, PostgreSQL shows the same state again.
    with sessions.begin() as session:
        return bool(session.scalar(text(statement)))


def test_a_login_gives_what_groups_give_and_takes_it_away(
    sessions: Sessions, log_in: Callable[[], None]
) -> None:
    log_in()
    assert read_role(sessions) == ("member", True)
    with sessions.begin() as session:
        changes = group_roles.follow(session, find_ada(session), {})
    assert changes == [("atlas", None)]
    assert read_role(sessions) is None


def test_who_is_removed_by_hand_gets_the_role_back_at_the_next_login(
    sessions: Sessions, log_in: Callable[[], None]
) -> None:
    log_in()
    with sessions.begin() as session:
        members.remove(session, find_atlas(session), find_ada(session))
    assert read_role(sessions) is None
    log_in()
    assert read_role(sessions) == ("member", True)


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("role", ["admin", "viewer"])
def test_a_role_that_somebody_gives_at_the_same_moment_is_left_alone(
    sessions: Sessions, log_in: Callable[[], None], role: ProjectRole, *, is_listed: bool
) -> None:
    if is_listed:
        # Other groups than now, or there would be nothing to change.
        with sessions.begin() as session:
            group_roles.follow(session, find_ada(session), {"atlas": "viewer"})
    login = threading.Thread(target=log_in)
    with sessions.begin() as session:
        members.set_role(session, find_atlas(session), find_ada(session), role)
        login.start()
        wait_for(lambda: is_login_waiting(sessions), "the login waits", 30)
    login.join()
    assert read_role(sessions) == (role, False)
