"""Why a job waits though a slot of a GPU is free: what it needs of the memory is not."""

from collections.abc import Iterable, Sequence

from store.hosts import DeviceMemory, Need, host_views
from store.jobs import Obstacle, Waiting, WaitReason

#: So many GPUs are named.
_MOST_NAMED = 3


def describe_lack(one: Waiting, devices: Iterable[host_views.DeviceView]) -> Obstacle | None:
    """None where one of the devices has room for the job, or their memory is not measured."""
    need = Need.of(one.job, one.kind, one.bookings)
    distinct = {(device.host, device.kind, device.number): device for device in devices}.values()
    measured = [device for device in distinct if device.memory is not None]
    if not measured or need.devices > 1 or any(device.room.takes(need) for device in distinct):
        return None
    wanted = [booked for device in measured if (booked := need.booking(device.name)) is not None]
    if wanted:
        lack = f"no GPU has {_gigabytes(min(wanted))} free"
    else:
        lack = "it runs alone, so that what it takes of a GPU is measured, and no GPU is idle"
    return Obstacle(WaitReason.NO_MEMORY, f"{lack}: {_describe_devices(measured)}")


def _describe_devices(devices: Sequence[host_views.DeviceView]) -> str:
    parts = [
        f"{device.host} {device.kind}:{device.number} has {_describe_memory(device.memory)}"
        for device in devices[:_MOST_NAMED]
        if device.memory is not None
    ]
    if (others := len(devices) - len(parts)) > 0:
        parts.append(f"{others} more")
    return ", ".join(parts)


def _describe_memory(memory: DeviceMemory) -> str:
    words = f"{_gigabytes(memory.free_bytes)} of {_gigabytes(memory.total_bytes)}"
    if memory.foreign_bytes:
        words += f" ({_gigabytes(memory.foreign_bytes)} used by others)"
    return words


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
