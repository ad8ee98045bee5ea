"""The shapes of what is said about datasets, the queue, workers, devices, people and tokens."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field

from api.schemas.jobs_studies import View
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
    """A queued job and its place in the line."""

    id: int
    name: str
    study_id: int | None
    study: Annotated[str | None, Field(description="its study's name")]
    owner: str
    priority: Annotated[str, Field(description="its class: waiting raises it by one an hour")]
    position: Annotated[int, Field(description="from 1, in the order in which slots are given out")]
    waiting_seconds: float
    claimable: Annotated[bool, Field(description="false: its dataset isn't there yet")]

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
    """The head of the line, and what runs."""

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
    alive: Annotated[bool, Field(description="seen lately")]
    slots: int
    busy: int
    claims: Annotated[bool, Field(description="alive, and takes jobs when it has a free slot")]
    shortage: Annotated[
        ShortageView | None, Field(description="for want of this room it takes no jobs")
    ]
    held_until: Annotated[
        datetime | None,
        Field(description="it takes no jobs until then: its disk ran full under a job"),
    ]
    clock_ahead_seconds: Annotated[
        float | None, Field(description="of the database's clock; negative: behind")
    ]
    problems: Annotated[
        list[str],
        Field(
            description="what keeps it from taking jobs and what is wrong with it, a sentence each"
        ),
    ]


class HeldView(View):
    """A slot in use, and until when unless renewed."""

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
    """A person."""

    id: int
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


class NewUser(Part):
    """A person to let in."""

    name: Name
    role: Role = "member"


class UserChange(Part):
    """What to change of a person; what isn't named stays."""

    role: Role | None = None
    disabled: bool | None = None


class TokenView(View):
    """A bearer token; its secret is told once, when it is made."""

    id: int
    user: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    parent_id: Annotated[int | None, Field(description="the token that it was made with")]

    @classmethod
    def of(cls, token: Token) -> Self:
        columns = {name: getattr(token, name) for name in cls.model_fields if name != "user"}
        return cls(**columns, user=token.user.name)


class NewToken(Part):
    """A token to make."""

    name: Annotated[str, Field(min_length=1, max_length=100, description="where it will be used")]
    user: Annotated[Name | None, Field(description="whose (admins only); default: one's own")] = (
        None
    )
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description="no later than the token of the request; null: as that one, or never"),
    ] = None


class SecretView(TokenView):
    """A new token with its secret, which nobody can read again."""

    secret: str
