"""Devices and whole hosts on which no job starts for a time, because a person wants them or they are to be serviced."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select
from sqlalchemy.orm import Session, joinedload

from store.db import Device, NotFound, Reservation, Reserved, User, Worker, database_now

#: PostgreSQL's advisory lock of all reservations that are made.
LOCK = 0x6E6C_0004


def reserve(
    session: Session,
    owner: User,
    host: str,
    device: tuple[str, int] | None,
    seconds: float,
    why: str,
) -> Reservation:
    """From now on no job starts there; without a device on none of the host's. Running jobs go on.

    Raises NotFound for what there isn't, and Reserved for what is reserved already."""
    # One at a time: two side by side would not see each other.
    session.execute(select(func.pg_advisory_xact_lock(LOCK)))
    if session.get(Worker, host) is None:
        raise NotFound(f"there is no host {host}")
    kind, number = device or (None, None)
    if device is not None:
        known = select(Device.id).where(
            Device.host == host, Device.kind == kind, Device.number == number
        )
        if session.scalars(known).first() is None:
            raise NotFound(f"there is no device {kind} {number} on {host}")
    for other in list_reservations(session):
        if other.host == host and (other.kind, other.number) in ((None, None), (kind, number)):
            raise Reserved(describe(other))
    reservation = Reservation(
        host=host, kind=kind, number=number, owner=owner, owner_id=owner.id, why=why,
        ends_at=database_now(session) + timedelta(seconds=seconds),
    )  # fmt: skip
    session.add(reservation)
    # What is over is of no use to anybody.
    session.execute(delete(Reservation).where(~_lasts()))
    session.flush()
    return reservation


def find(session: Session, reservation_id: int) -> Reservation:
    """One that lasts, with its owner; raises NotFound."""
    row = session.scalars(_lasting().where(Reservation.id == reservation_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no reservation {reservation_id}: it has ended or was released")
    return row


def release(session: Session, reservation: Reservation) -> None:
    session.execute(delete(Reservation).where(Reservation.id == reservation.id))


def list_reservations(session: Session) -> Sequence[Reservation]:
    """Those that last, with their owners; the first to end in front."""
    return session.scalars(_lasting().order_by(Reservation.ends_at, Reservation.id)).all()


def describe(reservation: Reservation) -> str:
    """`alpha cuda 0 is reserved by ada until 2026-01-31 14:00 UTC: a demonstration`"""
    what = reservation.host
    if reservation.kind is not None:
        what += f" {reservation.kind} {reservation.number}"
    until = f"{reservation.ends_at:%Y-%m-%d %H:%M} UTC"
    return f"{what} is reserved by {reservation.owner.name} until {until}: {reservation.why}"


def is_open() -> ColumnElement[bool]:
    """Of a device in the statement: that it isn't reserved."""
    return ~select(Reservation.id).where(_reserves_device()).correlate(Device).exists()


def with_reservations(statement: Select[Device]) -> Select[Device, Reservation | None]:
    """Each device with what reserves it, owners included; twice if it is reserved by itself and with its host."""
    return (
        statement.add_columns(Reservation)
        .outerjoin(Reservation, _reserves_device())
        .options(joinedload(Reservation.owner))
    )


def _reserves_device() -> ColumnElement[bool]:
    is_of_device = and_(Reservation.kind == Device.kind, Reservation.number == Device.number)
    is_of_host = Reservation.kind.is_(None)
    return and_(Reservation.host == Device.host, or_(is_of_host, is_of_device), _lasts())


def _lasting() -> Select[Reservation]:
    return select(Reservation).options(joinedload(Reservation.owner)).where(_lasts())


def _lasts() -> ColumnElement[bool]:
    return Reservation.ends_at > func.statement_timestamp()
