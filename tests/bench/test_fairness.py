"""The real acquisition with simulated work: equal shares, no starving, and nothing is claimed twice."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from bench.competition import compete
from bench.fairness import HOUR, START, Arrival, Simulation, device_seconds
from bench.harness.simulated_clock import simulated_clock

Sessions = sessionmaker[Session]


@pytest.fixture
def clock(sessions: Sessions, database_url: str) -> Iterator[Engine]:
    with simulated_clock(database_url, START) as engine:
        yield engine


@pytest.mark.parametrize(("few", "weights"), [(30, {}), (50, {"eve": 2.0})])
def test_who_has_many_times_the_jobs_gets_no_more_than_others(
    clock: Engine, few: int, weights: dict[str, float]
) -> None:
    arrivals = [
        Arrival(0.0, "ada", 100, 600.0),
        Arrival(0.0, "bob", few, 600.0),
        Arrival(0.0, "eve", few, 600.0),
    ]
    until = 2 * HOUR
    runs = Simulation(clock, 4, weights=weights).run(arrivals, until)

    # All have waited all the time.
    assert all(sum(run.person == name for run in runs) < few for name in ("bob", "eve"))
    used = device_seconds(runs, until)
    shares = [used[name] / weights.get(name, 1.0) for name in ("ada", "bob", "eve")]
    mean = sum(shares) / 3
    assert shares == pytest.approx([mean] * 3, rel=0.1)


@pytest.mark.parametrize("person", ["eve", "ada"])
def test_a_low_priority_starts_within_three_hours_of_a_stream_of_high_ones(
    clock: Engine, person: str
) -> None:
    """Whether or not its owner uses the machines otherwise."""
    stream = [Arrival(600.0 * turn, "ada", 1, 600.0, "high") for turn in range(24)]
    ahead = [Arrival(0.0, "ada", 3, 600.0, "high")]
    runs = Simulation(clock, 1).run(
        [*ahead, *stream, Arrival(0.0, person, 1, 600.0, "low")], 4 * HOUR
    )

    [low] = [run for run in runs if run.priority == "low"]
    # Low becomes urgent in three hours, and then waits for the end of what runs.
    assert 1 * HOUR < low.start <= 3 * HOUR + 900.0


def test_workers_that_compete_claim_each_job_once_within_slots_and_limits(
    sessions: Sessions, database_url: str
) -> None:
    found = compete(
        database_url,
        workers=12,
        slots=6,
        jobs={"ada": 24, "bob": 6, "eve": 12},
        running={"ada": 3, "bob": 1},
        work_seconds=0.2,
    )

    assert len(found.claims) == 42
    assert set(found.claims.values()) == {1}
    assert found.most_held <= 6
    assert found.most_running["ada"] <= 3
    assert found.most_running["bob"] == 1
