"""Settings that every process of the service reads from its environment (NORMLAB_*)."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runtime.storage import Storage, open_storage

Seconds = Annotated[float, Field(gt=0)]


def _open(location: Any, info: ValidationInfo) -> Any:
    """As the other settings say; a storage that is open already is taken as it is."""
    if not isinstance(location, str | Path):
        return location
    return open_storage(
        location,
        endpoint=info.data.get("s3_endpoint"),
        cache=info.data.get("cache"),
        cache_bytes=round(info.data.get("cache_mb", 0.0) * 1e6),
    )


class StorageSettings(BaseSettings):
    """Where files are shared."""

    # What was given holds passwords, and an error about it goes to the log.
    model_config = SettingsConfigDict(env_prefix="NORMLAB_", frozen=True, hide_input_in_errors=True)

    # These first: the storage is opened with them.
    s3_endpoint: Annotated[
        str | None, Field(description="of an object store that is not Amazon's: its address")
    ] = None
    cache: Annotated[
        Path | None, Field(description="of an object store: the folder for copies on this host")
    ] = None
    cache_mb: Annotated[float, Field(ge=0, description="of the copies that are kept")] = 20_000.0
    storage: Annotated[
        Storage, PlainValidator(_open), Field(description="a folder, or s3://bucket/prefix")
    ]


class ServiceSettings(StorageSettings):
    """Read once, in the composition root of each process."""

    database_url: str
    log_level: str = "INFO"

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
