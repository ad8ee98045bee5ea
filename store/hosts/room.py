"""What is free on a host: one slot, several at once, or whole devices.

A job on several devices gets all of them at once or none. Jobs that need less would take what becomes free one by
one, and it would never start. So once it has waited `PATIENCE_SECONDS` and is the fairest, one host keeps as many
devices free as it needs, the idlest, until the last of them is: the host that has most for it already.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from sqlalchemy import Select, Text, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from store.db import Device, Job, Lease, Worker
from store.hosts import host_health, reservations

#: A job may be passed by others that need less for so long, while the devices that it needs are in use.
PATIENCE_SECONDS = 300.0

Kind = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class FreeSlot:
    """A slot of a device (`number` of its kind on the host)."""

    device_id: int
    kind: Kind
    number: int
    slot: int


@dataclass(frozen=True, slots=True)
class Need:
    """Of a job; `kind`: None where it may have any. `exclusive`: with no other job beside it on its devices."""

    devices: int
    exclusive: bool
    kind: str | None

    @classmethod
    def of(cls, job: Job, kind: str | None) -> "Need":
        return cls(job.devices, job.exclusive, kind)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a job gets: a slot for each of its processes, and all slots that it keeps from others, these among them."""

    own: Sequence[FreeSlot]
    held: Sequence[FreeSlot]


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one kind: devices with a free slot, idle devices, and how many a job can be given room for by waiting. The
    slots of a CPU count as devices: to processes that train together each is one."""

    free: int
    whole: int
    total: int


@dataclass(frozen=True, slots=True)
class DeviceRoom:
    """`held`: by how many leases, those of slots included that there no longer are."""

    id: int
    kind: Kind
    number: int
    slots: int
    held: int
    free: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        return self.held == 0

    @property
    def size(self) -> int:
        """For how many processes of one job; NCCL allows one on a GPU."""
        return self.slots if self.kind == "cpu" else 1

    def own_slots(self) -> list[FreeSlot]:
        slots = self.free if self.kind == "cpu" else self.free[:1]
        return [FreeSlot(self.id, self.kind, self.number, slot) for slot in slots]

    def all_slots(self) -> list[FreeSlot]:
        return [FreeSlot(self.id, self.kind, self.number, slot) for slot in range(self.slots)]


@dataclass(frozen=True, slots=True)
class Room:
    """Devices in the order in which they are taken; for jobs of the kinds `awaiting` some may still be kept free."""

    devices: Sequence[DeviceRoom]
    awaiting: frozenset[str] = frozenset({"cpu", "cuda"})

    def counts(self) -> Mapping[str, Counts]:
        """Of the kinds of which anything is free."""
        kinds = dict.fromkeys(device.kind for device in self.devices if device.free)
        return {kind: self._count(kind) for kind in kinds}

    def _count(self, kind: str) -> Counts:
        devices = self._of(kind)
        return Counts(
            free=sum(len(device.own_slots()) for device in devices),
            whole=sum(device.size for device in devices if device.is_whole),
            total=sum(device.size for device in devices) if kind in self.awaiting else 0,
        )

    def choose(self, need: Need) -> Taken | None:
        """All of one kind, the first with enough; None where the job would have to wait for room."""
        for kind in self.counts():
            if need.kind in (None, kind):
                fitting = [one for one in self._of(kind) if one.is_whole or not need.exclusive]
                own = [slot for one in fitting for slot in one.own_slots()][: need.devices]
                if len(own) == need.devices:
                    return Taken(own, self._held(own) if need.exclusive else own)
        return None

    def _held(self, own: Iterable[FreeSlot]) -> Sequence[FreeSlot]:
        ids = {slot.device_id for slot in own}
        return [slot for one in self.devices if one.id in ids for slot in one.all_slots()]

    def keep_for(self, need: Need, host: str, others: Mapping[str, "Room"]) -> "Room":
        """What is left for other jobs, while this one waits for room: less, if this is the host that keeps it."""
        counts = self.counts()
        kinds = [kind for kind in counts if need.kind in (None, kind)]
        kind = next((kind for kind in kinds if counts[kind].total >= need.devices), None)
        if kind is None:
            return self
        left = replace(self, awaiting=self.awaiting - {kind})
        if host != choose_host(need, kind, {**others, host: self}):
            return left
        idlest = sorted(self._of(kind), key=lambda device: device.held)
        kept = {one.id for one in (idlest if kind == "cpu" else idlest[: need.devices])}
        return replace(left, devices=[one for one in self.devices if one.id not in kept])

    def _of(self, kind: str) -> Sequence[DeviceRoom]:
        return [device for device in self.devices if device.kind == kind]


def choose_host(need: Need, kind: str, rooms: Mapping[str, Room]) -> str:
    """Which of the hosts keeps devices free for it: the one with most by now. Each only gets more, so they don't take
    turns. There must be one that is large enough."""

    def fitness(host: str) -> tuple[int, int, str]:
        counts = rooms[host]._count(kind)
        slots = sum(len(device.free) for device in rooms[host]._of(kind))
        return counts.whole if need.exclusive else counts.free, slots, host

    return max(
        (host for host in rooms if rooms[host]._count(kind).total >= need.devices), key=fitness
    )


def find_room(
    session: Session, host: str, instance: str | None, warm: tuple[str, int] | None
) -> Room:
    """The warm device first, then GPUs, the idlest first.

    A lease that ran out still holds its slot until the sweep has ended its attempt.
    """
    rows = session.execute(_of_host(), {"host": host, "instance": instance})
    devices = [_device(row) for row in rows]
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
    return DeviceRoom(row.id, row.kind, row.number, row.slots, row.held, tuple(row.free or ()))


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
        )
        .join(Worker, Worker.host == Device.host)
        .join(slot, true())
        .outerjoin(Lease, (Lease.device_id == Device.id) & (Lease.slot == slot.c.slot))
        .where(reservations.is_open())
        .group_by(Device.id)
        .order_by(Device.kind.desc(), func.count().filter(is_free).desc(), Device.number)
    )
