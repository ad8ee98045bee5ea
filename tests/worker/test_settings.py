"""What the environment says to the worker's processes, and what they say of it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.mirror import __main__
from worker.settings import Settings


@pytest.mark.parametrize("settings", [Settings, __main__.Settings], ids=["worker", "mirror"])
def test_an_incomplete_environment_is_an_error_that_tells_no_password(
    settings: type[Settings | __main__.Settings],
) -> None:
    with pytest.raises(ValidationError, match="storage") as refused:
        settings(database_url="postgresql://u:secret@h/db")  # type: ignore[call-arg]
    assert "secret" not in str(refused.value)


def test_a_host_name_is_no_path() -> None:
    with pytest.raises(ValidationError, match="host_name"):
        Settings(database_url="", redis_url="", storage=Path(), host_name="../elsewhere")
