"""Reads what is free on hosts (`store.hosts.room`)."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from store.db import Device, Lease, Worker
from store.hosts import host_health, reservations
from store.hosts.room import DeviceRoom, Room


def find_room(
    session: Session,
    host: str,
    instance: str | None,
    warm: tuple[str, int] | None,
    only_warm: bool = False,
) -> Room:
    """The warm device first (or it alone), then GPUs, the idlest first.

    A lease that ran out still holds its slot until the sweep has ended its attempt.
    """
    rows = session.execute(_of_host(), {"host": host, "instance": instance})
    devices = [_device(row) for row in rows]
    if only_warm:
        return Room([one for one in devices if (one.kind, one.number) == warm])
    # False sorts before True and the sort is stable: the warm device moves to the front, the rest stays in
    # SQL's order. On the warm device the process has its CUDA context and its memory pool already.
    return Room(sorted(devices, key=lambda device: (device.kind, device.number) != warm))


def find_rooms(session: Session) -> Mapping[str, Room]:
    """Of all hosts that are there and take jobs."""
    rooms: dict[str, list[DeviceRoom]] = {}
    for row in session.execute(_of_all_hosts()):
        rooms.setdefault(row.host, []).append(_device(row))
    return {host: Room(devices) for host, devices in rooms.items()}


def _device(row: Any) -> DeviceRoom:
    return DeviceRoom(
        row.id,
        row.kind,
        row.number,
        row.slots,
        row.held,
        tuple(row.free or ()),
        row.name,
        row.memory_bytes,
        int(row.foreign_bytes),
        int(row.booked_bytes),
    )


@cache
def _of_host() -> Select[Any]:
    return _devices().where(
        Device.host == bindparam("host"),
        Worker.instance.is_not_distinct_from(bindparam("instance", type_=Text)),
        host_health.may_acquire(),
    )


@cache
def _of_all_hosts() -> Select[Any]:
    return _devices().where(host_health.is_worth_waking(), host_health.seen_lately())


def _devices() -> Select[Any]:
    # A device has no rows for its slots, only their number, so they are enumerated here and joined with the
    # leases: what finds no lease is free. A device that is gone has 0 slots, and the series up to -1 is
    # empty.
    slot = func.generate_series(0, Device.slots - 1).table_valued("slot").render_derived()
    is_free = Lease.id.is_(None)
    held = select(func.count()).where(Lease.device_id == Device.id).correlate(Device)
    free = func.array_agg(aggregate_order_by(slot.c.slot, slot.c.slot)).filter(is_free)
    return (
        select(
            Device.host,
            Device.id,
            Device.kind,
            Device.number,
            Device.slots,
            held.scalar_subquery().label("held"),
            free.label("free"),
            Device.name,
            Device.memory_bytes,
            # Until the host has said what others use of a GPU no job starts on it.
            func.coalesce(Device.foreign_bytes, Device.memory_bytes, 0).label("foreign_bytes"),
            booked_bytes().label("booked_bytes"),
        )
        .join(Worker, Worker.host == Device.host)
        .join(slot, true())
        .outerjoin(Lease, (Lease.device_id == Device.id) & (Lease.slot == slot.c.slot))
        .where(reservations.is_open())
        .group_by(Device.id)
        .order_by(Device.kind.desc(), func.count().filter(is_free).desc(), Device.number)
    )


def booked_bytes() -> ColumnElement[int]:
    """Of a device in the statement: by all of its leases."""
    booked = func.coalesce(Lease.booked_bytes, Device.memory_bytes, 0)
    return (
        select(func.coalesce(func.sum(booked), 0))
        .where(Lease.device_id == Device.id)
        .correlate(Device)
        .scalar_subquery()
    )
