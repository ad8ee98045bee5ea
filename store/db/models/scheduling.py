"""What decides whose job is next: what people have used, by how much it fades, and what they may have at most."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from store.db.models.accounts import ROLES
from store.db.models.table import Table, one_of

#: Where no other is set.
HALF_LIFE_SECONDS = 24 * 3600.0


class Usage(Table):
    """What a person's ended attempts used of the machines: device-seconds, faded to `as_of` (`store.jobs.usage`).

    `day_seconds`: those of the day (UTC) of `as_of`, not faded.
    """

    __tablename__ = "usage"
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    seconds: Mapped[float]
    as_of: Mapped[datetime]
    day_seconds: Mapped[float] = mapped_column(server_default="0")


class HalfLife(Table):
    """How long it takes until half of somebody's use is forgotten; the sums in `usage` faded by it.

    No row: `HALF_LIFE_SECONDS`. Here, not in each process's settings: they would not all change at the same moment.
    """

    __tablename__ = "half_life"
    singleton: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    seconds: Mapped[float]
    __table_args__ = (
        CheckConstraint("singleton", name="singleton"),
        CheckConstraint("seconds > 0", name="positive"),
    )


class StartEstimate(Table):
    """When a job was expected to start, soon after it was queued (`store.results.start_estimates`); NULL: nothing told."""

    __tablename__ = "start_estimates"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    made_at: Mapped[datetime]
    expected_at: Mapped[datetime | None]


class Limit(Table):
    """What a role or a person may have at most (`store.jobs.limits`); NULL: no limit, of a person: that of the role.

    `priority`: the highest class, by its place in `PRIORITIES`.
    """

    __tablename__ = "limits"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    role: Mapped[str | None] = mapped_column(unique=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), unique=True)
    running: Mapped[int | None]
    queued: Mapped[int | None]
    device_seconds_per_day: Mapped[float | None]
    timeout_seconds: Mapped[float | None]
    disk_bytes: Mapped[int | None]
    priority: Mapped[int | None]
    __table_args__ = (
        CheckConstraint("num_nonnulls(role, user_id) = 1", name="one_subject"),
        CheckConstraint(one_of("role", ROLES), name="role"),
    )
