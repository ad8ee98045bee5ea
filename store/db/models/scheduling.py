"""What decides whose job is next: what people have used, and by how much it fades."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from store.db.models.table import Table

#: Where no other is set.
HALF_LIFE_SECONDS = 24 * 3600.0


class Usage(Table):
    """What a person's ended attempts used of the machines: device-seconds, faded to `as_of` (`store.jobs.usage`)."""

    __tablename__ = "usage"
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    seconds: Mapped[float]
    as_of: Mapped[datetime]


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
