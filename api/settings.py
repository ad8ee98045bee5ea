"""Settings of the API process, from the environment (NORMLAB_*)."""

from typing import Annotated

from pydantic import Field

from api.processes import MOST_PLACES
from runtime.settings import QueueSettings, Seconds
from studies.rendering import MEGABYTES, SECONDS


class Settings(QueueSettings):
    """Read once, in the composition root."""

    mlflow_url: Annotated[str | None, Field(description="public base of the links to MLflow")] = (
        None
    )
    body_bytes: Annotated[int, Field(ge=1, description="of a JSON body")] = 10 * 2**20
    # PyYAML reads about 0.2 MB a second; a longer document would hold a thread for minutes.
    yaml_bytes: Annotated[int, Field(ge=1, description="of a YAML body")] = 2**20
    keep_checkpoints_days: Annotated[
        float,
        Field(ge=0, description="as the sweep's: what is removed where a request doesn't say"),
    ] = 7.0
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
    draw_seconds: Annotated[Seconds, Field(description="for a report or a figure")] = SECONDS
    draw_wait_seconds: Annotated[
        Seconds, Field(description="that a request waits for a drawing before it answers 202")
    ] = 10.0
    draw_megabytes: Annotated[int, Field(ge=256, description="resident, of the process")] = (
        MEGABYTES
    )
    check_start_seconds: Annotated[
        Seconds, Field(description="the helpers' server loads torch: without use of the CPU")
    ] = 120.0
