"""Schemas of a plan: what a document would create, how long it takes, and whether a verdict is possible."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas.jobs import View
from trainer.spec import Problem


class PlannedCell(View):
    """A job that would be created."""

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
    parameters: Annotated[int, Field(description="number of learned parameters")]
    examples: Annotated[dict[str, int], Field(description="number of examples per split")]
    steps: Annotated[int, Field(description="maximum number of steps of each job")]


class TakenDefault(View):
    """A field omitted from the document, and its default."""

    field: Annotated[str, Field(description="dotted path; for a study, within its base")]
    value: Any
    arms: Annotated[list[str], Field(description="the arms concerned; empty: all")]


class EstimateView(View):
    """Upper bound on the duration in seconds, as a range from low to high, estimated from finished jobs."""

    seconds: Annotated[
        tuple[float, float] | None,
        Field(description="elapsed time on all slots once started; null if there is no worker"),
    ]
    work_seconds: Annotated[
        tuple[float, float], Field(description="total training time, one job after another")
    ]
    slots: int
    basis: Annotated[
        Literal["measured", "scaled"],
        Field(
            description="measured: finished jobs of the same model, data and batch size; scaled: "
            "others of the model's name on the same data, by parameters and examples per step"
        ),
    ]
    jobs: Annotated[int, Field(description="number of finished jobs it is based on")]


class BillView(View):
    """What the jobs will take of the machines, judged by what finished ones took."""

    jobs: Annotated[
        int,
        Field(
            description="jobs in all; of a tuned study, its trials and its cells; of one that grows, at most"
        ),
    ]
    reused: Annotated[
        int,
        Field(
            description="of them, those whose results are there already: equal jobs were trained"
        ),
    ]
    device_seconds: Annotated[
        float | None,
        Field(description="training time of the others, one after another; null if nothing tells"),
    ]
    least_device_seconds: Annotated[
        float | None,
        Field(description="of a study that grows, until its first look; null of others"),
    ]
    unknown: Annotated[
        int, Field(description="jobs that are not in it: no comparable job has been trained")
    ]
    unknown_seconds: Annotated[
        float, Field(description="device time after which the unknown jobs end: their timeouts")
    ]
    basis: Annotated[
        Literal["same", "shape", "scaled"] | None,
        Field(
            description="what it rests on. same: as shape, and some differ in their seeds only; shape: jobs with the same "
            "model, norm, data, batch and regularizers; scaled: jobs of another size, by parameters and examples"
        ),
    ]
    finished: Annotated[int, Field(description="number of finished jobs that it rests on")]
    usual_error: Annotated[
        float | None,
        Field(
            description="how far bills of late were off: the median over trained jobs, 0.1 for 10 %; null: none yet"
        ),
    ]
    wall_seconds: Annotated[
        float | None,
        Field(description="until the last job has ended, with the current queue"),
    ]
    memory_bytes: Annotated[
        int | None,
        Field(description="of the job that needs most: of its GPU, or on a CPU of its process"),
    ]
    stored_bytes: Annotated[
        int | None, Field(description="checkpoints and files of all jobs in the storage")
    ]


class OutlookView(View):
    """Whether the study can have a verdict."""

    possible: bool
    sentence: str


class PlanView(View):
    """What would be created."""

    kind: Literal["job", "study"]
    count: int
    later_trials: Annotated[
        int,
        Field(description="number of trials that a search makes once those before have succeeded"),
    ]
    pretrainings: Annotated[
        int, Field(description="of the count, those that later jobs begin from: one for each seed")
    ]
    then: Annotated[
        int,
        Field(
            description="number of jobs created once all trials have succeeded, or each once the pretraining of its seed has"
        ),
    ]
    variants: int
    points: Annotated[int, Field(description="number of matrix points, includes among them")]
    seeds: int
    most_seeds: Annotated[
        int, Field(description="of a study that grows until it is decided; else as `seeds`")
    ]
    steps: Annotated[int, Field(description="maximum number of steps of all jobs together")]
    estimate: Annotated[
        EstimateView | None, Field(description="null: no finished job to estimate from")
    ]
    bill: BillView
    verdict: Annotated[OutlookView | None, Field(description="null for a job")]
    defaults: Annotated[list[TakenDefault], Field(description="fields omitted from the document")]
    same_as: Annotated[list[int], Field(description="existing studies that train the same")]
    arms: list[PlannedArm]
    cells: list[PlannedCell]
    problems: list[Problem]
    warnings: list[str]
    parameters: Annotated[
        dict[str, int], Field(description="number of learned parameters per variant or arm")
    ]
