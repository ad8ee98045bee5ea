"""What is kept of a study's results: made once for all who ask at the same time, and for so many studies."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from api.kept_results import Found, KeptResults
from store.db import Changes, notify
from store.db.engine import JOBS_CHANNEL
from tests.support.waiting import PATIENCE_SECONDS, wait_for


class Maker:
    """Counts how often it is asked; is done when it may be."""

    def __init__(self) -> None:
        self.count = 0
        self.may_end = threading.Event()

    def __call__(self) -> tuple[Mapping[str, Any], Sequence[int]]:
        self.count += 1
        assert self.may_end.wait(PATIENCE_SECONDS)
        return {"made": self.count}, [1]


@pytest.fixture
def changes(engine: Engine) -> Iterator[Changes]:
    with closing(Changes(engine)) as changes:
        changes.start()
        # When it begins to listen anything may have changed, which is not what is tested here.
        wait_for(lambda: not changes.mark.endswith("-0"), "changes are heard")
        yield changes


def test_many_who_ask_at_the_same_time_get_what_one_has_made(changes: Changes) -> None:
    make = Maker()
    with closing(KeptResults(changes)) as kept, ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(kept.read, 7, make) for _ in range(8)]
        make.may_end.set()
        assert [one.result(PATIENCE_SECONDS) for one in answers] == [{"made": 1}] * 8


def test_after_a_failure_the_next_one_makes_it(changes: Changes) -> None:
    make = Maker()
    make.may_end.set()
    with closing(KeptResults(changes)) as kept:
        with pytest.raises(ZeroDivisionError):
            kept.read(7, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
        assert kept.read(7, make) == {"made": 1}


def test_what_takes_long_is_shown_as_it_was_before(
    changes: Changes, sessions: sessionmaker[Session]
) -> None:
    make = Maker()
    with closing(KeptResults(changes)) as kept:
        assert kept.find(7, make, seconds=0, first_seconds=0) == Found(None, is_late=True)
        make.may_end.set()
        assert kept.read(7, make) == {"made": 1}
        assert kept.find(7, make, seconds=0, first_seconds=0) == Found({"made": 1}, is_late=False)
        make.may_end.clear()
        before = changes.mark
        with sessions.begin() as session:
            notify(session, JOBS_CHANNEL, "1")
        wait_for(lambda: changes.since(before), "the change is heard")
        assert kept.find(7, make, seconds=0, first_seconds=0) == Found({"made": 1}, is_late=True)
        make.may_end.set()
        # With the change, though it had been begun by somebody else.
        assert kept.read(7, make) == {"made": 2}


def test_the_study_that_was_looked_at_the_longest_ago_is_forgotten(changes: Changes) -> None:
    make = Maker()
    make.may_end.set()
    with closing(KeptResults(changes, most=2)) as kept:
        for study in (1, 2, 1, 3):
            kept.read(study, make)
        assert make.count == 3
        kept.read(1, make)
        assert make.count == 3
        kept.read(2, make)
        assert make.count == 4
