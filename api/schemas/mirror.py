"""Schemas of the problems of the mirror to MLflow."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from store.db import MirrorProblem


class ProblemView(BaseModel):
    """Something that is missing in MLflow, and why."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    kind: Annotated[
        Literal["run", "files", "model", "deleted", "experiment"],
        Field(
            description="run, files, model: could not be sent; deleted: the run was deleted in MLflow; "
            "experiment: the project's experiment was deleted in MLflow"
        ),
    ]
    job_id: int | None
    study_id: int | None
    reason: str
    attempts: Annotated[int, Field(description="number of attempts; 0: it cannot be sent at all")]
    since: datetime
    next_at: Annotated[
        datetime | None,
        Field(description="time of the next attempt; null: there is no automatic attempt"),
    ]


class NamedProblem(ProblemView):
    """A problem with the name of the job, study or project that has it."""

    name: str

    @classmethod
    def named(cls, problem: MirrorProblem, name: str) -> Self:
        return cls(**ProblemView.model_validate(problem).model_dump(), name=name)


class MirrorView(BaseModel):
    """What is missing in MLflow."""

    count: Annotated[int, Field(description="number of problems, including those not listed")]
    problems: list[NamedProblem]
