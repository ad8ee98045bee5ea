"""Checks without the answers of earlier tests, which may have put other networks in place."""

from collections.abc import Iterator

import pytest

from tests.support.spec_checks import forget_networks


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    forget_networks()
