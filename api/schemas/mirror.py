"""The shapes of what is said about the mirror to MLflow."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from store.db import MirrorProblem


class ProblemView(BaseModel):
    """Something that MLflow lacks, and why."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    kind: Annotated[
        Literal["run", "files", "model", "deleted", "experiment"],
        Field(
            description="run, files, model: could not be sent; deleted: somebody deleted the run in "
            "MLflow; experiment: somebody deleted the project's experiment there"
        ),
    ]
    job_id: int | None
    study_id: int | None
    reason: str
    attempts: Annotated[
        int, Field(description="how often it was tried; 0: it cannot be sent at all")
    ]
    since: datetime
    next_at: Annotated[datetime | None, Field(description="the next attempt; null: none by itself")]


class NamedProblem(ProblemView):
    """A problem with the name of the job, study or project that has it."""

    name: str

    @classmethod
    def named(cls, problem: MirrorProblem, name: str) -> Self:
        return cls(**ProblemView.model_validate(problem).model_dump(), name=name)


class MirrorView(BaseModel):
    """What MLflow lacks."""

    count: Annotated[int, Field(description="of all problems, also of those that are left out")]
    problems: list[NamedProblem]
