"""What is kept of a study's results: made once for all who ask at the same time, and for so many studies."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Engine

from api.kept_results import KeptResults
from store.db import Changes
from tests.support.waiting import wait_for


class Maker:
    """Counts how often it is asked; is done when it may be."""

    def __init__(self) -> None:
        self.count = 0
        self.may_end = threading.Event()

    def __call__(self) -> tuple[Mapping[str, Any], Sequence[int]]:
        self.count += 1
        assert self.may_end.wait(30)
        return {"made": self.count}, [1]


@pytest.fixture
def changes(engine: Engine) -> Iterator[Changes]:
    with closing(Changes(engine)) as changes:
        changes.start()
        # When it begins to listen anything may have changed, which is not what is tested here.
        wait_for(lambda: not changes.mark.endswith("-0"), "changes are heard")
        yield changes


def test_many_who_ask_at_the_same_time_get_what_one_has_made(changes: Changes) -> None:
    kept, make = KeptResults(changes), Maker()
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(kept.read, 7, make) for _ in range(8)]
        make.may_end.set()
        assert [one.result(30) for one in answers] == [{"made": 1}] * 8


def test_after_a_failure_the_next_one_makes_it(changes: Changes) -> None:
    kept, make = KeptResults(changes), Maker()
    make.may_end.set()
    with pytest.raises(ZeroDivisionError):
        kept.read(7, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    assert kept.read(7, make) == {"made": 1}


def test_the_study_that_was_looked_at_the_longest_ago_is_forgotten(changes: Changes) -> None:
    kept, make = KeptResults(changes, most=2), Maker()
    make.may_end.set()
    for study in (1, 2, 1, 3):
        kept.read(study, make)
    assert make.count == 3
    kept.read(1, make)
    assert make.count == 3
    kept.read(2, make)
    assert make.count == 4
