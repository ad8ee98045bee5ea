"""The schema of a job's place in the queue."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from store.jobs import WaitReason
from studies.planning import Place


class WaitView(BaseModel):
    """Why a job waits, at which place, and when it may start."""

    model_config = ConfigDict(frozen=True)

    reason: Annotated[
        WaitReason, Field(description="the one reason; `detail` says it in a sentence")
    ]
    detail: str
    position: Annotated[
        int | None,
        Field(
            description="from 1, in the order in which jobs will start; null: it is not in line for a device (paused, or an equal job trains), or so far back that its turn is not worked out"
        ),
    ]
    behind: Annotated[
        dict[str, int],
        Field(description="jobs that start before it on the devices that it needs, by owner"),
    ]
    expected_start_at: Annotated[
        datetime | None,
        Field(description="an estimate, as if nothing else were submitted; null: nothing tells"),
    ]

    @classmethod
    def at(cls, place: Place, now: datetime) -> Self:
        return cls(**describe_place(place, now))

    @classmethod
    def beyond(cls, ahead: int, expected_at: datetime | None) -> Self:
        """For a job so far behind that its turn was not worked out; `ahead`: at least so many jobs are."""
        return cls(
            reason=WaitReason.BEHIND,
            detail=f"behind at least {ahead} job{'' if ahead == 1 else 's'}",
            position=None,
            behind={},
            expected_start_at=expected_at,
        )

    @classmethod
    def outside(cls, reason: WaitReason, detail: str) -> Self:
        """For a job that is not in line for a device."""
        return cls(reason=reason, detail=detail, position=None, behind={}, expected_start_at=None)


def describe_place(place: Place, now: datetime) -> dict[str, Any]:
    start = place.starts_in
    return {
        "reason": place.reason,
        "detail": place.why,
        "position": place.waiting.position,
        "behind": dict(place.behind),
        "expected_start_at": None if start is None else now + timedelta(seconds=start),
    }
