"""Hosts, their devices and leases, and the storage that they share."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Integer,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.db.models.accounts import User
from store.db.models.table import Table, one_of


class Worker(Table):
    """A worker's parent process on a host, which owns the host's queue.

    `instance` is new at each start of a worker; NULL in rows from before there were any. `namespace`: in which
    `process` is a process id. `address`: where the server sees the worker; NULL on a Unix socket.
    `ended_at`: it has ended by itself, and none of its processes is left.
    `shortage`: the folder without enough room (`store.hosts.host_health.Shortage`), for which the host takes no jobs.
    `held_until`: it takes no jobs until then, because its disk ran full under a job, `disk_failures` times
    without one that completed between them. `clock_ahead_seconds`: of the database's clock. `offers`: what it
    would train with, for each kind of device (`store.reuse.Offer`). `packages`: of plugins that it has (`Job.packages`).
    """

    __tablename__ = "workers"
    host: Mapped[str] = mapped_column(primary_key=True)
    process: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    draining: Mapped[bool] = mapped_column(server_default="false")
    instance: Mapped[str | None]
    machine: Mapped[str | None]
    namespace: Mapped[str | None]
    address: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    shortage: Mapped[dict[str, Any] | None]
    disk_failures: Mapped[int] = mapped_column(Integer, server_default="0")
    held_until: Mapped[datetime | None]
    clock_ahead_seconds: Mapped[float | None]
    packages: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    offers: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))


class Storage(Table):
    """The one storage of this database: the id in the folder's marker file, and where it was adopted."""

    __tablename__ = "storage"
    singleton: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    id: Mapped[str]
    folder: Mapped[str]
    machine: Mapped[str]
    adopted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (CheckConstraint("singleton", name="singleton"),)


class Device(Table):
    """A device of a host and how many jobs it may run at once.

    `memory_bytes`: of a GPU on which jobs are packed by what they take of it; NULL where it is not measured.
    `foreign_bytes`: what others than our jobs use of it; NULL until its host has said it.
    """

    __tablename__ = "devices"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    host: Mapped[str] = mapped_column(ForeignKey("workers.host", ondelete="CASCADE"))
    kind: Mapped[str]
    number: Mapped[int]
    name: Mapped[str]
    slots: Mapped[int]
    memory_bytes: Mapped[int | None]
    foreign_bytes: Mapped[int | None]
    __table_args__ = (
        UniqueConstraint("host", "kind", "number"),
        CheckConstraint(one_of("kind", ("cpu", "cuda")), name="kind"),
    )


class Lease(Table):
    """A job's attempt holds one slot of one device until `expires_at`, unless renewed.

    `booked_bytes`: of the device's memory, where it is measured; NULL: all of it. `used_bytes`: what the attempt said
    at its last renewal.
    """

    __tablename__ = "leases"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    attempt: Mapped[int]
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    slot: Mapped[int]
    expires_at: Mapped[datetime]
    booked_bytes: Mapped[int | None]
    used_bytes: Mapped[int | None]
    __table_args__ = (UniqueConstraint("device_id", "slot"),)


class Footprint(Table):
    """The most memory that a job of a shape (the SQL function `shape_of`) took of a GPU of this name."""

    __tablename__ = "footprints"
    shape: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    memory_bytes: Mapped[int]


class Reservation(Table):
    """Until `ends_at` no job starts on the device, or, where kind and number are NULL, on the host; what runs goes on."""

    __tablename__ = "reservations"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    host: Mapped[str] = mapped_column(ForeignKey("workers.host", ondelete="CASCADE"), index=True)
    kind: Mapped[str | None]
    number: Mapped[int | None]
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    owner: Mapped[User] = relationship(lazy="raise")
    why: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ends_at: Mapped[datetime]
    __table_args__ = (
        CheckConstraint("num_nulls(kind, number) IN (0, 2)", name="device"),
        CheckConstraint(one_of("kind", ("cpu", "cuda")), name="kind"),
    )
