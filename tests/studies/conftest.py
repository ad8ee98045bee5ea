"""What the tests of the science share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_old_garbage() -> Iterator[None]:
    """statsmodels collects garbage at every call of its Holm: what is there before isn't looked through."""
    gc.freeze()
    yield
    gc.unfreeze()
