"""Pages as they are once everything is in them, however slow the machine."""

import pytest

from api.web import studies
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _patient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "LATE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(studies, "FIRST_LATE_SECONDS", PATIENCE_SECONDS)
