"""What jobs take of a GPU's memory: the most that a job of a shape took, by the GPU's name.

A job books that and some headroom. One of whose shape nothing is known runs alone on its GPU, and so tells; so does one
that ran out of memory. A shape (the SQL function `shape_of`) is model, norm, data, batch, regularizers and evaluations;
jobs have theirs in `Job.shape`, by which lines of the queue are told apart.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Text,
    bindparam,
    column,
    delete,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from store.db import Device, Footprint, Job, Lease

#: A driver keeps some of the memory for itself, an allocator loses some between its blocks: the larger of 3 % and 256 MiB.
HEADROOM_DIVISOR = 33
HEADROOM_BYTES = 256 * 2**20


def with_headroom(memory_bytes: int) -> int:
    """What a job books that is expected to take so much."""
    return memory_bytes + max(memory_bytes // HEADROOM_DIVISOR, HEADROOM_BYTES)


def _booking() -> ColumnElement[int]:
    """`with_headroom` of a footprint: change both together."""
    headroom = func.greatest(Footprint.memory_bytes // HEADROOM_DIVISOR, HEADROOM_BYTES)
    return Footprint.memory_bytes + headroom


def bookings() -> ColumnElement[dict[str, int] | None]:
    """What a job of the statement books, by the names of GPUs; NULL where it runs alone."""
    booked = func.jsonb_object_agg(Footprint.device, _booking(), type_=JSONB)
    return select(booked).where(Footprint.shape == Job.shape).correlate(Job).scalar_subquery()


def room(shape: ColumnElement[str]) -> FromClause:
    """Whether a job of the shape can book what it needs on one of the GPUs `names`: of the bytes in `now`, and of those in
    `idle`; NULL where it runs alone."""
    names = bindparam("names", type_=ARRAY(Text))
    now, idle = (bindparam(name, type_=ARRAY(BigInteger)) for name in ("now", "idle"))
    left = (
        func.unnest(names, now, idle)
        .table_valued(column("name", Text), column("now", BigInteger), column("idle", BigInteger))
        .render_derived(name="left_bytes")
    )
    return (
        select(*(func.bool_or(_booking() <= left.c[name]).label(name) for name in ("now", "idle")))
        .select_from(Footprint)
        .join(left, left.c.name == Footprint.device)
        .where(Footprint.shape == shape)
        .lateral("memory")
    )


def is_alone(job: Job) -> bool:
    """Whether it has run out of memory since it was submitted or retried."""
    return not job.shape


def run_alone(job: Job) -> None:
    """It ran out of memory: until somebody retries it, it books nothing."""
    job.shape = ""


def restore(job: Job) -> None:
    """It books again what others of its shape took."""
    job.shape = func.shape_of(Job.spec)


def keep(session: Session, job_id: int, memory_bytes: int) -> None:
    """What a running job took at most; of others of its shape that took more, that is kept."""
    measured = (
        select(func.shape_of(Job.spec), Device.name, literal(memory_bytes, BigInteger))
        .join(Lease, Lease.job_id == Job.id)
        .join(Device, Device.id == Lease.device_id)
        # The processes of a job on several devices are not measured.
        .where(Job.id == job_id, Job.devices == 1, Device.memory_bytes.is_not(None))
        # A whole device is held by several leases.
        .distinct()
    )
    row = insert(Footprint).from_select(["shape", "device", "memory_bytes"], measured)
    most = func.greatest(Footprint.memory_bytes, row.excluded.memory_bytes)
    session.execute(
        row.on_conflict_do_update(
            index_elements=[Footprint.shape, Footprint.device], set_={"memory_bytes": most}
        )
    )


def forget(session: Session, job_id: int) -> None:
    """A running job ran out of what it had booked: the next of its shape runs alone, and tells anew."""
    shape = select(func.shape_of(Job.spec)).where(Job.id == job_id).scalar_subquery()
    devices = (
        select(Device.name)
        .join(Lease, Lease.device_id == Device.id)
        .where(Lease.job_id == job_id, Lease.booked_bytes.is_not(None))
    )
    session.execute(
        delete(Footprint)
        .where(Footprint.shape == shape, Footprint.device.in_(devices))
        .execution_options(synchronize_session=False)
    )
