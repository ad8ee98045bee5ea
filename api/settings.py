"""What the environment says to the API process (NORMLAB_*)."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api.processes import MOST_PLACES

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Read once, in the composition root."""

    # What was given holds passwords, and an error about it goes to the log.
    model_config = SettingsConfigDict(env_prefix="NORMLAB_", frozen=True, hide_input_in_errors=True)

    database_url: str
    redis_url: str
    mlflow_url: Annotated[str | None, Field(description="public base of the links to MLflow")] = (
        None
    )
    storage: Path
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    log_level: str = "INFO"
    body_bytes: Annotated[int, Field(ge=1, description="of a JSON body")] = 10 * 2**20
    # PyYAML reads about 0.2 MB a second; a longer document would hold a thread for minutes.
    yaml_bytes: Annotated[int, Field(ge=1, description="of a YAML body")] = 2**20
    tokens_per_person: Annotated[int, Field(ge=1, description="valid ones at once")] = 20
    check_helpers: Annotated[int, Field(ge=1, le=64, description="that check at once")] = 2
    check_seconds: Annotated[Seconds, Field(description="of CPU time, to check one spec")] = 20.0
    check_megabytes: Annotated[int, Field(ge=256, description="resident, of each helper")] = 4096
    check_idle_seconds: Annotated[
        Seconds, Field(description="without use of the CPU: the helper hangs")
    ] = 30.0
    check_places: Annotated[
        int, Field(ge=1, le=MOST_PLACES, description="requests of one person that may wait")
    ] = 8
    check_wait_seconds: Annotated[
        Seconds, Field(description="that a request waits for a check before it answers 503")
    ] = 20.0
    # Clients wait a minute for an answer.
    study_check_seconds: Annotated[Seconds, Field(description="for all cells of a study")] = 35.0
    # A busy machine takes minutes; nobody's request is held for so long.
    draw_seconds: Annotated[Seconds, Field(description="for a report or a figure")] = 600.0
    draw_wait_seconds: Annotated[
        Seconds, Field(description="that a request waits for a drawing before it answers 202")
    ] = 10.0
    draw_megabytes: Annotated[int, Field(ge=256, description="resident, of the process")] = 1024
    check_start_seconds: Annotated[
        Seconds, Field(description="the helpers' server loads torch: without use of the CPU")
    ] = 120.0

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

    @field_validator("log_level")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()
