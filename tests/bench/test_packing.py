"""The real acquisition packs simulated GPUs by what jobs were measured to take."""

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from bench.harness.simulated_clock import simulated_clock
from bench.packing import GB, START, Packing


@pytest.fixture
def clock(sessions: sessionmaker[Session], database_url: str) -> Iterator[Engine]:
    with simulated_clock(database_url, START) as engine:
        yield engine


def test_packed_gpus_do_more_never_run_out_of_memory_and_leave_others_theirs(clock: Engine) -> None:
    total = 24 * GB
    found = Packing(clock, 2, total).run(60)
    assert Counter(found.ended).most_common(1)[0][1] == 1
    assert len(found.ended) == 60
    assert found.foreign > 5
    assert found.out_of_memory == 0
    assert found.gain >= 1.8
    assert found.most_booked <= total
