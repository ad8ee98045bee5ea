"""The shapes of a plan: what a document would create, how long that takes, and what can come of it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas.jobs_studies import View
from trainer.spec import Problem


class PlannedCell(View):
    """What would become a job."""

    name: str
    variant: str | None
    point: dict[str, Any]
    seed: int


class PlannedArm(View):
    """Jobs that differ in their seeds only: one variant at one point of the matrix."""

    name: str
    variant: str | None
    point: dict[str, Any]
    jobs: int
    parameters: Annotated[int, Field(description="learned numbers")]
    examples: Annotated[dict[str, int], Field(description="images or rows of each split")]
    steps: Annotated[int, Field(description="of each job, at most")]


class TakenDefault(View):
    """A field that the document leaves out, and the value that it therefore has."""

    field: Annotated[str, Field(description="dotted path; of a study's base from dataset on")]
    value: Any
    arms: Annotated[list[str], Field(description="where, if not everywhere")]


class EstimateView(View):
    """What the jobs take at most, in seconds from low to high, judged by finished jobs."""

    seconds: Annotated[
        tuple[float, float] | None,
        Field(description="on the slots, once it is their turn; null where no worker is there"),
    ]
    work_seconds: Annotated[
        tuple[float, float], Field(description="the trainings one after another")
    ]
    slots: int
    basis: Annotated[
        Literal["measured", "scaled"],
        Field(
            description="measured: finished jobs of the same model, data and batch size; scaled: "
            "others of the model's name on the same data, by parameters and examples per step"
        ),
    ]
    jobs: Annotated[int, Field(description="finished jobs that it rests on")]


class OutlookView(View):
    """Whether the study can have a verdict."""

    possible: bool
    sentence: str


class PlanView(View):
    """What would be created; nothing is."""

    kind: Literal["job", "study"]
    count: int
    then: Annotated[int, Field(description="jobs that follow once trials of tuning have succeeded")]
    variants: int
    points: Annotated[int, Field(description="of the matrix, includes among them")]
    seeds: int
    steps: Annotated[int, Field(description="of all jobs together, at most")]
    estimate: Annotated[EstimateView | None, Field(description="null: no finished job to judge by")]
    verdict: Annotated[OutlookView | None, Field(description="null: a job has none")]
    defaults: Annotated[list[TakenDefault], Field(description="what the document leaves out")]
    same_as: Annotated[list[int], Field(description="studies that train the same already")]
    arms: list[PlannedArm]
    cells: list[PlannedCell]
    problems: list[Problem]
    warnings: list[str]
    parameters: Annotated[dict[str, int], Field(description="learned numbers per variant or arm")]
