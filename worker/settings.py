"""What the environment says to the worker's processes (NORMLAB_*)."""

import os
import socket
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Read once, in each process's composition root; a lease and its rhythm belong together."""

    # What was given holds passwords, and an error about it goes to the log.
    model_config = SettingsConfigDict(env_prefix="NORMLAB_", frozen=True, hide_input_in_errors=True)

    database_url: str
    redis_url: str
    storage: Path
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    # `{n}` stands for the first number that no other worker has: for replicas with one environment.
    host_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\{n\})?$")] = Field(
        default_factory=socket.gethostname
    )
    log_level: str = "INFO"
    cpu_slots: Annotated[int | None, Field(ge=0, description="default: cores / cpu_threads")] = None
    cpu_threads: Annotated[int, Field(ge=1)] = 1
    gpu_slots: Annotated[int, Field(ge=0, description="jobs at once on each GPU")] = 1
    lease_seconds: Seconds = 90.0
    heartbeat_seconds: Annotated[
        float, Field(gt=0, description="a wish is seen so soon; never above a quarter of the lease")
    ] = 2.0
    stall_seconds: Annotated[
        float, Field(gt=0, description="no step for so long: the lease is no longer renewed")
    ] = 600.0
    sweep_seconds: Seconds = 5.0
    min_free_mb: Annotated[
        float,
        Field(
            ge=0,
            description="with less free where jobs write (storage, temporary folder), no job is "
            "acquired; 0: no check",
        ),
    ] = 512.0
    host_lock_seconds: Annotated[
        float, Field(ge=0, description="so long a start waits for an earlier worker to end")
    ] = 30.0

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(Path(part) for part in value.split(os.pathsep) if part)

    @field_validator("storage")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.resolve()

    @field_validator("redis_url")
    @classmethod
    def _in_celerys_words(cls, value: str) -> str:
        """redis-py calls a Unix socket `unix://`, Celery `redis+socket://`."""
        return value.replace("unix://", "redis+socket://", 1)

    @property
    def renewal_seconds(self) -> float:
        """Pause between two renewals of a lease."""
        return min(self.heartbeat_seconds, self.lease_seconds / 4)
