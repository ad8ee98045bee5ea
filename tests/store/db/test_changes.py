"""Changes are heard as they are committed; whoever was away hears what was missed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

from store.db import Changes, changes, notify
from store.db.engine import JOBS_CHANNEL
from tests.support.waiting import wait_for

Sessions = sessionmaker[Session]
#: A job that no test has.
LAST = 999_999_999


@pytest.fixture
def heard(engine: Engine, sessions: Sessions) -> Iterator[Changes]:
    heard = Changes(engine)
    heard.start()
    wait_until_it_listens(heard, sessions)
    yield heard
    heard.close()


def wait_until_it_listens(heard: Changes, sessions: Sessions) -> None:
    """Past what was announced before: PostgreSQL may tell a new listener of that, too."""
    # It notes once that it listens, for anything may have changed before.
    wait_for(lambda: heard._count > 0, "it listens")
    announce(sessions, str(LAST))
    wait_for(lambda: LAST in heard._recent, "it hears the last announcement")


def announce(sessions: Sessions, *payloads: str) -> None:
    for payload in payloads:
        with sessions.begin() as session:
            notify(session, JOBS_CHANNEL, payload)


def test_since_a_mark_it_says_which_jobs_have_changed(heard: Changes, sessions: Sessions) -> None:
    begin = heard.since()
    assert begin is not None
    assert begin.jobs is None
    assert heard.since(begin.mark) is None
    before = heard._count
    announce(sessions, "7", "8", "7")
    wait_for(lambda: heard._count >= before + 3, "three changes are heard")
    news = heard.since(begin.mark)
    assert news is not None
    assert news.jobs == {7, 8}
    assert heard.since(news.mark) is None
    # Without a job: any may have changed.
    announce(sessions, "9", "")
    wait_for(lambda: heard._count >= before + 5, "two more are heard")
    after = heard.since(news.mark)
    assert after is not None
    assert after.jobs is None


@pytest.mark.parametrize("mark", ["", "x", "x-1", "-1", "{name}-x", "{name}-99", "{name}--1"])
def test_a_mark_that_means_nothing_here_may_have_missed_anything(heard: Changes, mark: str) -> None:
    news = heard.since(mark.format(name=heard._name))
    assert news is not None
    assert news.jobs is None


def test_only_so_much_is_remembered(
    engine: Engine, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "REMEMBERED", 2)
    heard = Changes(engine)
    heard.start()
    try:
        wait_until_it_listens(heard, sessions)
        before, count = heard.since(), heard._count
        announce(sessions, "1", "2")
        wait_for(lambda: heard._count >= count + 2, "two are heard")
        assert before is not None
        two = heard.since(before.mark)
        assert two is not None
        assert two.jobs == {1, 2}
        announce(sessions, "3")
        wait_for(lambda: heard._count >= count + 3, "one more is heard")
        three = heard.since(before.mark)
        assert three is not None
        assert three.jobs is None
    finally:
        heard.close()


def test_a_lost_connection_is_made_anew_and_what_was_missed_is_told(
    heard: Changes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_RETRY_SECONDS", 0.05)
    called = list[int]()
    begin = heard.since()
    assert begin is not None
    with heard.subscribed(lambda: called.append(1)):
        with sessions.begin() as session:
            session.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
                )
            )
        wait_for(lambda: called, "it says that something may have changed")
        news = heard.since(begin.mark)
        assert news is not None
        assert news.jobs is None

    def hears_again() -> bool:
        mark = heard.mark
        announce(sessions, "5")
        wait_for(lambda: heard.since(mark), "something has changed")
        after = heard.since(mark)
        return after is not None and after.jobs == {5}

    wait_for(hears_again, "it hears again")
