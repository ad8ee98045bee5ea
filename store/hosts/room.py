"""What is free on a host: one slot, several at once, or whole devices; of GPUs whose memory is measured, also memory.

A job on several devices gets all of them at once or none. Jobs that need less would take what becomes free one by
one, and it would never start. So once it has waited `PATIENCE_SECONDS` and is the fairest, one host keeps as many
devices free as it needs, the idlest, until the last of them is: the host that has most for it already. The same goes
for a job that needs more memory than is free.

On a GPU whose memory is measured several jobs run side by side as far as what they have booked fits beside what others
use. A job without a booking (`store.hosts.footprints`) gets the whole device.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from store.db import Job

#: A job may be passed by others that need less for so long, while the devices that it needs are in use.
PATIENCE_SECONDS = 300.0
#: A job gets a whole GPU only where others leave it this share of the memory.
WHOLE_SHARE = 0.5

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
    """Of a job; `kind`: None where it may have any. `exclusive`: with no other job beside it on its devices.
    `bookings`: how much memory it books, by the names of GPUs; of others nothing is known."""

    devices: int
    exclusive: bool
    kind: str | None
    bookings: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job, kind: str | None, bookings: Mapping[str, int] | None = None) -> "Need":
        return cls(job.devices, job.exclusive, kind, bookings or {})

    def booking(self, name: str) -> int | None:
        """In bytes of a GPU of this name; None: all of it."""
        # What the processes of a job on several devices take is not measured.
        return None if self.exclusive or self.devices > 1 else self.bookings.get(name)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a job gets: a slot for each of its processes, and all slots that it keeps from others, these among them.
    `booked_bytes`: of the memory of its GPU; None: all of it, or nobody measures it."""

    own: Sequence[FreeSlot]
    held: Sequence[FreeSlot]
    booked_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one kind: devices with a free slot, idle devices, and how many a job can be given room for by waiting. The
    slots of a CPU count as devices: to processes that train together each is one. `unmeasured`: those of the first
    whose memory is not measured; `memory`: of the others, by their names, how many bytes a job can book on one of them
    now, and by waiting."""

    free: int
    whole: int
    total: int
    unmeasured: int = 0
    memory: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceRoom:
    """`held`: by how many leases, those of slots included that there no longer are. `memory_bytes`: None where it is
    not measured; `booked_bytes`: a lease without a booking has booked all of it."""

    id: int
    kind: Kind
    number: int
    slots: int
    held: int
    free: tuple[int, ...]
    name: str = ""
    memory_bytes: int | None = None
    foreign_bytes: int = 0
    booked_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        return self.held == 0

    @property
    def size(self) -> int:
        """For how many processes of one job; NCCL allows one on a GPU."""
        return self.slots if self.kind == "cpu" else 1

    @property
    def left_bytes(self) -> int:
        """Neither booked nor used by others."""
        return (self.memory_bytes or 0) - self.foreign_bytes - self.booked_bytes

    def is_given_whole(self, need: Need) -> bool:
        is_measured = self.memory_bytes is not None
        return need.exclusive or (is_measured and need.booking(self.name) is None)

    def takes(self, need: Need) -> bool:
        """Whether the job, or one process of it, may start here now."""
        is_idle = self.is_whole or not self.is_given_whole(need)
        return bool(self.free) and is_idle and self._has_memory(need, self.left_bytes)

    def may_take(self, need: Need) -> bool:
        """Whether it may once all jobs here have ended."""
        return self.slots > 0 and self._has_memory(need, self.left_bytes + self.booked_bytes)

    def _has_memory(self, need: Need, left: int) -> bool:
        if self.memory_bytes is None:
            return True
        booking = need.booking(self.name)
        return left >= (WHOLE_SHARE * self.memory_bytes if booking is None else booking)

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
        whole = Need(1, exclusive=True, kind=kind)
        is_awaited = kind in self.awaiting
        return Counts(
            free=sum(len(device.own_slots()) for device in devices),
            whole=sum(device.size for device in devices if device.takes(whole)),
            total=sum(one.size for one in devices if one.may_take(whole)) if is_awaited else 0,
            unmeasured=sum(len(one.own_slots()) for one in devices if one.memory_bytes is None),
            memory=_most_bytes(devices, is_awaited),
        )

    def choose(self, need: Need) -> Taken | None:
        """All of one kind, the first with enough; None where the job would have to wait for room."""
        for kind in self.counts():
            if need.kind in (None, kind):
                fitting = [one for one in self._of(kind) if one.takes(need)]
                own = [slot for one in fitting for slot in one.own_slots()][: need.devices]
                if len(own) == need.devices:
                    return self._take(need, own)
        return None

    def _take(self, need: Need, own: Sequence[FreeSlot]) -> Taken:
        devices = {one.id: one for one in self.devices}
        taken = [devices[slot.device_id] for slot in own]
        held = dict.fromkeys(own)
        for device in taken:
            if device.is_given_whole(need):
                held |= dict.fromkeys(device.all_slots())
        is_measured = taken[0].memory_bytes is not None
        return Taken(own, list(held), need.booking(taken[0].name) if is_measured else None)

    def keep_for(self, need: Need, host: str, others: Mapping[str, "Room"]) -> "Room":
        """What is left for other jobs, while this one waits for room: less, if this is the host that keeps it."""
        kinds = [kind for kind in self.counts() if need.kind in (None, kind)]
        able = (kind for kind in kinds if kind in self.awaiting)
        kind = next((kind for kind in able if self.is_large_enough(need, kind)), None)
        if kind is None:
            return self
        left = replace(self, awaiting=self.awaiting - {kind})
        if host != choose_host(need, kind, {**others, host: self}):
            return left
        able_devices = [one for one in self._of(kind) if one.may_take(need)]
        idlest = sorted(able_devices, key=lambda device: device.held)
        kept = {one.id for one in (idlest if kind == "cpu" else idlest[: need.devices])}
        return replace(left, devices=[one for one in self.devices if one.id not in kept])

    def is_large_enough(self, need: Need, kind: str) -> bool:
        """Whether the job could run here if nothing else did."""
        return sum(one.size for one in self._of(kind) if one.may_take(need)) >= need.devices

    def _of(self, kind: str) -> Sequence[DeviceRoom]:
        return [device for device in self.devices if device.kind == kind]


def _most_bytes(devices: Iterable[DeviceRoom], is_awaited: bool) -> Mapping[str, tuple[int, int]]:
    most: dict[str, tuple[int, int]] = {}
    for device in devices:
        if device.memory_bytes is not None:
            now, idle = most.get(device.name, (0, 0))
            left, all_left = device.left_bytes, device.left_bytes + device.booked_bytes
            most[device.name] = (
                max(now, left if device.free else 0),
                max(idle, all_left if is_awaited else 0),
            )
    return most


def choose_host(need: Need, kind: str, rooms: Mapping[str, Room]) -> str:
    """Which of the hosts keeps devices free for it: the one with most by now. Each only gets more, so they don't take
    turns. There must be one that is large enough."""

    def fitness(host: str) -> tuple[int, int, str]:
        devices = rooms[host]._of(kind)
        ready = sum(len(device.own_slots()) for device in devices if device.takes(need))
        return ready, sum(len(device.free) for device in devices), host

    return max((host for host in rooms if rooms[host].is_large_enough(need, kind)), key=fitness)
