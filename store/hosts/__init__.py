"""Hosts: their names, disk space and clocks, and the storage that they share."""

from store.hosts import disk_use, host_health, reservations
from store.hosts.disk_use import Stored
from store.hosts.host_health import SEEN_SECONDS, Shortage
from store.hosts.host_names import Holder, NameSession, open_session
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
    find_room,
    find_rooms,
)
from store.hosts.storage import adopt_storage, check_storage

__all__ = [
    "PATIENCE_SECONDS",
    "SEEN_SECONDS",
    "Counts",
    "DeviceRoom",
    "FreeSlot",
    "Holder",
    "Kind",
    "NameSession",
    "Need",
    "Room",
    "Shortage",
    "Stored",
    "Taken",
    "adopt_storage",
    "check_storage",
    "choose_host",
    "disk_use",
    "find_room",
    "find_rooms",
    "host_health",
    "open_session",
    "reservations",
]
