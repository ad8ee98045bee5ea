"""Schemas of datasets, the queue, workers, devices, users and tokens."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field

from api.schemas.jobs import View
from store.db import PRIORITIES, Job, Token
from store.jobs import Waiting
from trainer.spec import DatasetInfo, DatasetSource, Name, Part

Role = Literal["admin", "member", "viewer"]


class NewDataset(Part):
    """A dataset to register: a worker decodes it once."""

    name: Name
    source: DatasetSource


class DatasetView(View):
    """A dataset that jobs may name once it is ready."""

    name: str
    owner: str | None
    status: Literal["registering", "ready", "failed"]
    source: dict[str, Any]
    info: DatasetInfo | None
    error: str | None
    job_id: Annotated[int | None, Field(description="the job that decodes it")]
    created_at: datetime


class WaitingView(View):
    """A queued job and its position in the queue."""

    id: int
    name: str
    study_id: int | None
    study: Annotated[str | None, Field(description="its study's name")]
    owner: str
    priority: Annotated[
        str, Field(description="priority class; each hour of waiting raises it by one")
    ]
    position: Annotated[int, Field(description="from 1, in the order in which jobs will start")]
    waiting_seconds: float
    claimable: Annotated[bool, Field(description="false: its dataset is not ready yet")]

    @classmethod
    def of(cls, waiting: Waiting) -> Self:
        return cls(
            id=waiting.job.id,
            name=waiting.job.name,
            study_id=waiting.job.study_id,
            study=waiting.job.study.name if waiting.job.study else None,
            owner=waiting.job.owner.name,
            priority=PRIORITIES[waiting.job.priority],
            position=waiting.position,
            waiting_seconds=waiting.waiting_seconds,
            claimable=waiting.runnable,
        )


class RunningView(View):
    """A running job."""

    id: int
    name: str
    study_id: int | None
    study: Annotated[str | None, Field(description="its study's name")]
    owner: str
    priority: str
    attempt: int
    step: int
    total_steps: int | None
    started_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.id,
            name=job.name,
            study_id=job.study_id,
            study=job.study.name if job.study else None,
            owner=job.owner.name,
            priority=PRIORITIES[job.priority],
            attempt=job.attempt,
            step=job.step,
            total_steps=job.total_steps,
            started_at=job.started_at,
        )


class QueueView(View):
    """Waiting jobs in order, and running jobs."""

    queued: list[WaitingView]
    running: list[RunningView]


class ShortageView(View):
    """A folder of a host without enough room for jobs."""

    folder: str
    free_bytes: int
    needed_bytes: int
    detail: str


class WorkerView(View):
    """A host's worker."""

    host: str
    process: int
    started_at: datetime
    seen_at: datetime
    draining: bool
    alive: Annotated[bool, Field(description="whether it was seen recently")]
    slots: int
    busy: int
    claims: Annotated[bool, Field(description="alive, and takes jobs when it has a free slot")]
    shortage: Annotated[
        ShortageView | None, Field(description="missing disk space, for which it takes no jobs")
    ]
    held_until: Annotated[
        datetime | None,
        Field(description="it takes no jobs until then, because its disk ran full during a job"),
    ]
    clock_ahead_seconds: Annotated[
        float | None,
        Field(description="how far its clock is ahead of the database's; negative: behind"),
    ]
    problems: Annotated[
        list[str],
        Field(description="what keeps it from taking jobs and other problems, one sentence each"),
    ]


class HeldView(View):
    """A slot in use; its lease expires at `expires_at` unless renewed."""

    slot: int
    job_id: int
    job_name: str
    attempt: int
    expires_at: datetime


class DeviceView(View):
    """A device and what runs on it."""

    host: str
    kind: Literal["cpu", "cuda"]
    number: int
    name: str
    slots: int
    held: list[HeldView]


class UserView(View):
    """A user."""

    id: int
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


class NewUser(Part):
    """A user to create."""

    name: Name
    role: Role = "member"


class UserChange(Part):
    """Changes to a user; omitted fields are unchanged."""

    role: Role | None = None
    disabled: bool | None = None


class TokenView(View):
    """A bearer token; its secret is shown only once, when it is created."""

    id: int
    user: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    parent_id: Annotated[int | None, Field(description="the token it was created with")]

    @classmethod
    def of(cls, token: Token) -> Self:
        columns = {name: getattr(token, name) for name in cls.model_fields if name != "user"}
        return cls(**columns, user=token.user.name)


class NewToken(Part):
    """A token to create."""

    name: Annotated[str, Field(min_length=1, max_length=100, description="where it will be used")]
    user: Annotated[
        Name | None,
        Field(description="owner of the token (admins only); default: the current user"),
    ] = None
    expires_at: Annotated[
        AwareDatetime | None,
        Field(
            description="no later than the token of the request; null: when that one expires, or never"
        ),
    ] = None


class SecretView(TokenView):
    """A new token with its secret, which cannot be read again."""

    secret: str
