"""Schemas of jobs, their records and their results. Times are RFC 3339 in UTC, durations are in seconds, no number is NaN."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.mirror import ProblemView
from api.schemas.waiting import WaitView
from runtime.tracing import trace_id
from store.db import PRIORITIES, Job, MirrorProblem

Item = TypeVar("Item", bound=BaseModel)
Metrics = Annotated[
    dict[str, float | None],
    Field(description="null if not finite; the value is then in `non_finite`"),
]
NonFinite = Annotated[
    dict[str, str], Field(description="metrics that are not finite: nan, inf or -inf")
]
JobStatus = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]


TraceId = Annotated[
    str | None,
    Field(
        description="of the trace that its request began or continued, where the service sends traces to a collector"
    ),
]
MirrorProblems = Annotated[
    list[ProblemView],
    Field(
        description="what is missing in MLflow, and why; for a study also of its jobs, the first ones"
    ),
]


class View(BaseModel):
    """Base of the answers: read from rows."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Listing(View, Generic[Item]):
    """One page; pass `next_cursor` as `cursor` to get the next page; null on the last page."""

    items: list[Item]
    next_cursor: str | None = None


class JobView(View):
    """A job: one spec, one seed, one training (or the decoding of one dataset)."""

    id: int
    kind: Literal["training", "dataset"]
    name: str
    study_id: int | None
    project: str | None
    private: Annotated[bool, Field(description="only who is listed in the project may read it")]
    owner: str
    variant: str | None
    point: Annotated[dict[str, Any], Field(description="the matrix point: dotted path → value")]
    trial: Annotated[
        dict[str, Any] | None,
        Field(description="for a tuning trial: the settings it tries; {} also for a pretraining"),
    ]
    seed: int
    status: JobStatus
    reason: str | None
    requested_action: Annotated[
        str | None,
        Field(description="what the running job was asked to do: cancel, pause or preempt"),
    ]
    wish: Annotated[
        str | None,
        Field(
            description="the former name of `requested_action`",
            json_schema_extra={"deprecated": True},
        ),
    ]
    spec: dict[str, Any]
    metrics: Metrics
    non_finite: NonFinite
    warnings: list[str]
    tags: list[str]
    note: str
    archived: bool
    error: str | None
    attempt: Annotated[int, Field(description="the latest attempt's number; 0: none yet")]
    step: int
    total_steps: int | None
    priority: str
    numerics: dict[str, Any] | None
    seconds_used: Annotated[
        float, Field(description="training time; of a reused job, that of the job it is from")
    ]
    reused_from: Annotated[
        int | None,
        Field(description="the job that trained the same and answers this one, which has not run"),
    ]
    waits_for: Annotated[
        int | None,
        Field(description="the job that trains the same now; it will answer this one"),
    ]
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    mlflow_url: Annotated[
        str | None,
        Field(description="its run in MLflow; made once the job has started, or has ended"),
    ]
    mirror_problems: MirrorProblems
    trace_id: TraceId
    obstacle: Annotated[
        str | None,
        Field(
            description="what prevents a queued job from starting, other than the jobs ahead of it; "
            "only present when a single job is read"
        ),
    ]
    waiting: Annotated[
        WaitView | None,
        Field(
            description="why a queued or paused job waits, and when it may start; only present when a single "
            "job is read"
        ),
    ] = None

    @classmethod
    def of(
        cls,
        job: Job,
        url: str | None = None,
        problems: Sequence[MirrorProblem] = (),
        obstacle: str | None = None,
    ) -> Self:
        columns = {name: getattr(job, name) for name in _JOB_COLUMNS}
        return cls(
            **columns,
            project=job.project.name if job.project else None,
            private=job.project is not None and job.project.visibility == "private",
            owner=job.owner.name,
            priority=PRIORITIES[job.priority],
            wish=job.requested_action,
            archived=job.archived_at is not None,
            mlflow_url=url,
            mirror_problems=[ProblemView.model_validate(one) for one in problems],
            trace_id=trace_id(job.trace_context),
            obstacle=obstacle,
        )


_JOB_COLUMNS = frozenset(JobView.model_fields) - {
    "project", "private", "owner", "priority", "wish", "archived", "mlflow_url", "mirror_problems", "obstacle",
    "trace_id", "waiting",
}  # fmt: skip


class EpochView(View):
    """One evaluation period."""

    epoch: int
    attempt: int
    step: int
    train_loss: float | None
    train_cost: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float | None
    seconds: float
    extra: dict[str, float | None]
    non_finite: NonFinite
    recorded_at: datetime


class DiagnosisView(View):
    """Statistics of one layer at one diagnostic step; the layer `network` is the whole network."""

    epoch: int
    step: int
    attempt: int
    layer: str
    statistics: dict[str, float | None]
    non_finite: NonFinite
    recorded_at: datetime


class AttemptView(View):
    """One execution of a job."""

    number: int
    host: str
    started_at: datetime
    ended_at: datetime | None
    end: str | None
    first_step: Annotated[int | None, Field(description="0, or the step it was resumed at")]
    environment: dict[str, Any] | None
    error: str | None


class TransitionView(View):
    """A change of a job's status."""

    at: datetime
    who: str
    from_status: str | None
    to_status: str
    why: str


class CheckpointView(View):
    """A checkpoint file."""

    id: int
    attempt: int
    kind: Literal["last", "best"]
    epoch: int
    step: int
    digest: Annotated[str, Field(description="blake2b, 16 bytes, hex")]
    bytes: int
    created_at: datetime


class FileView(View):
    """A file that belongs to a job."""

    name: str
    digest: Annotated[str, Field(description="blake2b, 16 bytes, hex")]
    bytes: int
    created_at: datetime


class LogLineView(View):
    """A log line of a job's attempt."""

    id: int
    attempt: int
    at: datetime
    level: str
    text: str


class ResultView(View):
    """One job as a row of results."""

    job_id: int
    study_id: int | None
    study: str | None
    project: str | None
    owner: str
    name: str
    variant: str | None
    point: dict[str, Any]
    trial: dict[str, Any] | None
    seed: int
    status: JobStatus
    reason: str | None
    metrics: Metrics
    non_finite: NonFinite
    tags: Annotated[list[str], Field(description="tags of the job and of its study")]
    epochs: Annotated[int, Field(description="evaluation periods trained")]
    seconds: Annotated[float, Field(description="training time over all attempts")]
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ChosenRows(View):
    """One page of rows with the requested columns, named as requested."""

    items: list[dict[str, Any]]
    next_cursor: str | None = None
