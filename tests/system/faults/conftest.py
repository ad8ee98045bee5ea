"""One house per module; what a test has started and submitted is gone before the next."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import House


@pytest.fixture(scope="module")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.open()
        yield house
    finally:
        house.close()


@pytest.fixture
def house(standing_house: House) -> Iterator[House]:
    standing_house.end_programs()
    standing_house.clear()
    yield standing_house
    standing_house.end_programs()


@pytest.fixture
def staffed_house(standing_house: House) -> House:
    """With a worker that tests share: for those that leave it well."""
    standing_house.clear()
    standing_house.staff()
    return standing_house
