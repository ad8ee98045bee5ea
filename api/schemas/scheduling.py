"""Schemas of the queue, and of what each person has used of the machines."""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BeforeValidator, ByteSize, Field

from api.schemas.jobs import View
from api.schemas.service import Role, describe_private
from api.schemas.waiting import WaitView, describe_place
from store.db import PRIORITIES, Job
from store.jobs import Limits
from store.results import Share, StartError
from studies.planning import Place
from trainer.spec import Duration, Part, Priority, describe_duration

_Id: TypeAlias = Annotated[
    int | None, Field(description="null: of a private project that the reader may not read")
]


class WaitingView(WaitView):
    """A queued job and its position in the queue."""

    id: _Id
    name: str
    study_id: int | None
    study: Annotated[str | None, Field(description="its study's name")]
    owner: str
    priority: Annotated[
        str, Field(description="priority class; each hour of waiting raises it by one")
    ]
    waiting_seconds: float
    claimable: Annotated[bool, Field(description="false: its dataset is not ready yet")]

    @classmethod
    def of(cls, place: Place, now: datetime, hidden: Collection[int] = ()) -> Self:
        """`hidden`: the projects that the reader may not read."""
        waiting = place.waiting
        return cls(
            **describe_place(place, now),
            **_identify(waiting.job, hidden),
            priority=PRIORITIES[waiting.job.priority],
            waiting_seconds=waiting.waiting_seconds,
            claimable=waiting.runnable,
        )


class RunningView(View):
    """A running job."""

    id: _Id
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
    def of(cls, job: Job, hidden: Collection[int] = ()) -> Self:
        return cls(
            **_identify(job, hidden),
            priority=PRIORITIES[job.priority],
            attempt=job.attempt,
            step=job.step,
            total_steps=job.total_steps,
            started_at=job.started_at,
        )


def _identify(job: Job, hidden: Collection[int]) -> dict[str, Any]:
    owner = job.owner.name
    if job.project_id in hidden:
        name = describe_private(owner)
        return {"id": None, "name": name, "study_id": None, "study": None, "owner": owner}
    study = job.study.name if job.study else None
    return {
        "id": job.id,
        "name": job.name,
        "study_id": job.study_id,
        "study": study,
        "owner": owner,
    }


class EstimatesView(View):
    """How far off the estimated starts of the last jobs were, made soon after they were queued."""

    count: Annotated[int, Field(description="jobs")]
    median_error_seconds: float
    median_wait_seconds: float

    @classmethod
    def of(cls, error: StartError) -> Self:
        return cls(
            count=error.count,
            median_error_seconds=error.median_seconds,
            median_wait_seconds=error.median_wait_seconds,
        )


class QueueView(View):
    """Waiting jobs in order, and running jobs."""

    queued: list[WaitingView]
    running: list[RunningView]
    estimates: Annotated[
        EstimatesView | None,
        Field(description="how wrong estimates of the start were; null: none has come true yet"),
    ]


class LimitsView(View):
    """What a role or a person may have of the machines at most; null: no limit."""

    role: Annotated[Role | None, Field(description="whose limits; null: those of a person")]
    user: Annotated[str | None, Field(description="whose limits; null: those of a role")]
    running: Annotated[int | None, Field(description="jobs at once; more wait")]
    queued: Annotated[int | None, Field(description="waiting jobs; more are refused")]
    device_seconds_per_day: Annotated[
        float | None,
        Field(description="from midnight to midnight, UTC; jobs beyond it wait for the next day"),
    ]
    timeout_seconds: Annotated[float | None, Field(description="longest `resources.timeout`")]
    disk_bytes: Annotated[
        int | None,
        Field(description="of checkpoints and files; with more, submissions are refused"),
    ]
    priority: Annotated[Priority | None, Field(description="the highest that may be asked for")]

    @classmethod
    def of(cls, limits: Limits, *, role: str | None = None, user: str | None = None) -> Self:
        return cls.model_validate({"role": role, "user": user, **asdict(limits)})


def _ensure_size(value: Any) -> Any:
    # To pydantic, false is no bytes and true one.
    is_size = not isinstance(value, str) or re.fullmatch(r"\s*[0-9.]+\s*[A-Za-z]*\s*", value)
    if isinstance(value, bool) or not is_size:
        raise ValueError(f"a size is bytes or like 500MB, 20GB, 1TB but got {str(value).lower()}")
    return value


class LimitsChange(Part):
    """Limits to set; omitted fields are unchanged, null removes a limit."""

    running: Annotated[int | None, Field(strict=True, ge=0, le=10**6)] = None
    queued: Annotated[int | None, Field(strict=True, ge=0, le=10**6)] = None
    device_seconds_per_day: Duration | None = None
    timeout_seconds: Duration | None = None
    disk_bytes: (
        Annotated[
            ByteSize,
            BeforeValidator(_ensure_size, json_schema_input_type=int | str),
            Field(ge=0, le=10**18, description="bytes, or like 500MB, 20GB, 1TB"),
        ]
        | None
    ) = None
    priority: Priority | None = None


class ShareView(View):
    """What a person has used of the machines lately, and why it is, or is not, their turn."""

    user: str
    weight: float
    seconds: Annotated[
        float,
        Field(
            description="device-seconds, of which half is forgotten in every half-life; running jobs count "
            "with the time that they are expected to take"
        ),
    ]
    running_seconds: Annotated[float, Field(description="those of running jobs")]
    weighted_seconds: Annotated[
        float, Field(description="divided by the weight; the person with the fewest is next")
    ]
    share: Annotated[float, Field(description="of everybody's device-seconds, from 0 to 1")]
    running: Annotated[int, Field(description="jobs")]
    queued: Annotated[int, Field(description="jobs")]
    turn: Annotated[
        int | None,
        Field(
            description="among people whose jobs of one priority wait: 1 is next; null: no job waits"
        ),
    ]
    since: Annotated[datetime | None, Field(description="when their first job started")]
    waiting_since: Annotated[
        datetime | None, Field(description="when the oldest waiting job was queued")
    ]
    why: str

    @classmethod
    def of(cls, share: Share, total: float, ahead: Sequence[Share]) -> Self:
        """`total`: everybody's device-seconds; `ahead`: whose turn comes first."""
        return cls(
            user=share.name,
            weight=share.weight,
            seconds=share.seconds,
            running_seconds=share.open_seconds,
            weighted_seconds=share.weighted,
            share=share.seconds / total if total else 0.0,
            running=share.running,
            queued=share.queued,
            turn=share.turn,
            since=share.since,
            waiting_since=share.waiting_since,
            why=_explain(share, ahead),
        )


class UsageView(View):
    """Everybody who uses the machines, has used them lately or waits for them; who has used most comes first."""

    half_life_seconds: Annotated[
        float, Field(description="half of what somebody has used is forgotten in this time")
    ]
    items: list[ShareView]

    @classmethod
    def of(cls, shares: Sequence[Share], half_life: float) -> Self:
        total = sum(one.seconds for one in shares)
        waiting = sorted(
            (one for one in shares if one.turn is not None), key=lambda one: one.turn or 0
        )
        return cls(
            half_life_seconds=half_life,
            items=[ShareView.of(one, total, waiting[: (one.turn or 1) - 1]) for one in shares],
        )


def _explain(share: Share, ahead: Sequence[Share]) -> str:
    """The numbers that decide, in a sentence."""
    counted = f"{describe_duration(share.seconds)} of device time counts"
    if share.weight != 1.0:
        by_weight = describe_duration(share.weighted)
        counted = f"{counted}, divided by the weight {share.weight:g}: {by_weight}"
    if share.turn is None:
        return f"{counted}; no job waits"
    if not ahead:
        return f"{counted}; the least of all whose jobs wait, so that they are next"
    names = ", ".join(f"{one.name} ({describe_duration(one.weighted)})" for one in ahead[:3])
    more = f" and {len(ahead) - 3} more" if len(ahead) > 3 else ""
    return f"{counted}; at the same priority, jobs of {names}{more} come first"
