"""Settings that every process of the service reads from its environment (NORMLAB_*)."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]


class ServiceSettings(BaseSettings):
    """Read once, in the composition root of each process."""

    # What was given holds passwords, and an error about it goes to the log.
    model_config = SettingsConfigDict(env_prefix="NORMLAB_", frozen=True, hide_input_in_errors=True)

    database_url: str
    storage: Path
    log_level: str = "INFO"

    @field_validator("storage")
    @classmethod
    def _resolve(cls, storage: Path) -> Path:
        return storage.resolve()

    @field_validator("log_level")
    @classmethod
    def _upper(cls, level: str) -> str:
        return level.upper()


class QueueSettings(ServiceSettings):
    """Of a process that sends or receives wake-ups, and reads datasets."""

    redis_url: str
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(Path(part) for part in value.split(os.pathsep) if part)
