"""What a host says of its GPUs' memory: how much there is, and how much of it others use than our jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ARRAY, BigInteger, column, func, literal, select, update
from sqlalchemy.orm import Session

from store.db import Device, Lease, Worker
from store.hosts.room import DeviceRoom


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Of the host's GPU of this number. `own_bytes`: what the worker's processes use of it; None where the host can't
    tell whose processes they are, as in a container."""

    number: int
    total_bytes: int
    used_bytes: int
    own_bytes: int | None


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Of a GPU: all of its memory, what jobs have booked of it, and what others use."""

    total_bytes: int
    booked_bytes: int
    foreign_bytes: int

    @classmethod
    def of(cls, device: Device, booked: int) -> "DeviceMemory | None":
        """None where it is not measured; `booked`: by all leases (`booked_bytes`)."""
        if (total := device.memory_bytes) is None:
            return None
        # Until its host has said what others use of it no job starts there, as if they used all.
        foreign = total if device.foreign_bytes is None else device.foreign_bytes
        # Each lease of a job that has a whole device books all of it.
        return cls(total, min(booked, total), foreign)

    @property
    def free_bytes(self) -> int:
        return max(0, self.total_bytes - self.booked_bytes - self.foreign_bytes)

    def put_into(self, room: DeviceRoom) -> DeviceRoom:
        return replace(
            room,
            memory_bytes=self.total_bytes,
            foreign_bytes=self.foreign_bytes,
            booked_bytes=self.booked_bytes,
        )


def report(
    session: Session, host: str, gpus: Sequence[GpuMemory], instance: str | None = None
) -> None:
    """What isn't the worker's own is others'; where the host can't tell, what its jobs have not said that they use.

    Nothing changes where another instance is the host's worker now.
    """
    # Locked, so that two of the host's processes don't write the rows of its GPUs in different orders.
    worker = select(Worker.host).where(
        Worker.host == host, Worker.instance.is_not_distinct_from(instance)
    )
    locked = worker.with_for_update(key_share=True)
    if not gpus or session.scalars(locked).one_or_none() is None:
        return
    rows = [(one.number, one.total_bytes, one.used_bytes, one.own_bytes) for one in gpus]
    names = ("number", "total", "used", "own")
    given = (
        func.unnest(
            *(literal(list(values), ARRAY(BigInteger)) for values in zip(*rows, strict=True))
        )
        .table_valued(*(column(name, BigInteger) for name in names))
        .render_derived(name="given")
    )
    # A job that has the whole device says the same for each of its leases.
    of_job = (
        select(func.max(Lease.used_bytes).label("used"))
        .where(Lease.device_id == Device.id)
        .group_by(Lease.job_id)
        .correlate(Device)
        .lateral("of_job")
    )
    said = select(func.sum(of_job.c.used)).scalar_subquery()
    own = func.coalesce(given.c.own, said, 0)
    session.execute(
        update(Device)
        .where(Device.host == host, Device.kind == "cuda", Device.number == given.c.number)
        .values(memory_bytes=given.c.total, foreign_bytes=func.greatest(0, given.c.used - own))
        .execution_options(synchronize_session=False)
    )
