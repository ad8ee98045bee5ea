import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from bench.service.queries import serve_in_process
from store.db import make_engine


@pytest.fixture(autouse=True)
def _the_tests_own_switch_interval() -> Iterator[None]:
    seconds = sys.getswitchinterval()
    yield
    sys.setswitchinterval(seconds)


def test_the_service_of_the_benchmark_answers(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """So that a new part of the API is noticed before the benchmark is run the next time."""
    # Not the tests' own: a connection of it would go on to hear what other tests announce.
    own = make_engine(database_url)
    try:
        with serve_in_process(own, database_url, tmp_path, "admin") as client:
            for path in ("/api/v1/studies", "/studies"):
                assert client.get(path).status_code == 200, path
    finally:
        own.dispose()
