"""What all processes are told by their environment."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import Settings as ApiSettings
from runtime.settings import QueueSettings, ServiceSettings
from worker.mirror.__main__ import Settings as MirrorSettings
from worker.settings import Settings as WorkerSettings


@pytest.mark.parametrize("settings", [ApiSettings, WorkerSettings])
def test_processes_of_the_queue_read_the_same_words(
    settings: type[QueueSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": "postgresql://h/db",
        "REDIS_URL": "redis://h",
        "STORAGE": "here",
        "DATA_ROOTS": "/a:/b:",
        "LOG_LEVEL": "debug",
    }.items():
        monkeypatch.setenv(f"NORMLAB_{name}", value)
    found = settings()  # type: ignore[call-arg]
    assert found.storage.root == tmp_path / "here"
    assert found.data_roots == (Path("/a"), Path("/b"))
    assert found.log_level == "DEBUG"
    with pytest.raises(ValidationError, match="frozen"):
        found.log_level = "INFO"  # type: ignore[misc]


@pytest.mark.parametrize("settings", [ApiSettings, WorkerSettings, MirrorSettings])
def test_every_process_has_the_common_settings(settings: type[ServiceSettings]) -> None:
    assert issubclass(settings, ServiceSettings)
    assert {"database_url", "storage", "log_level"} <= settings.model_fields.keys()
