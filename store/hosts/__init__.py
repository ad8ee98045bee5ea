"""Hosts: their names, disk space and clocks, and the storage that they share."""

from store.hosts import disk_use, footprints, gpu_memory, host_health, host_views, reservations
from store.hosts.disk_use import Owned, Stored, describe_bytes
from store.hosts.gpu_memory import DeviceMemory, GpuMemory
from store.hosts.host_health import SEEN_SECONDS, Shortage
from store.hosts.host_names import Holder, NameSession, open_session
from store.hosts.moving import copy_storage
from store.hosts.rights import find_missing_rights
from store.hosts.room import (
    PATIENCE_SECONDS,
    Counts,
    DeviceRoom,
    FreeSlot,
    Kind,
    Need,
    Room,
    Taken,
    choose_host,
)
from store.hosts.rooms import booked_bytes, find_room, find_rooms
from store.hosts.storage import adopt_storage, check_storage

__all__ = [
    "PATIENCE_SECONDS",
    "SEEN_SECONDS",
    "Counts",
    "DeviceMemory",
    "DeviceRoom",
    "FreeSlot",
    "GpuMemory",
    "Holder",
    "Kind",
    "NameSession",
    "Need",
    "Owned",
    "Room",
    "Shortage",
    "Stored",
    "Taken",
    "adopt_storage",
    "booked_bytes",
    "check_storage",
    "choose_host",
    "copy_storage",
    "describe_bytes",
    "disk_use",
    "find_missing_rights",
    "find_room",
    "find_rooms",
    "footprints",
    "gpu_memory",
    "host_health",
    "host_views",
    "open_session",
    "reservations",
]
