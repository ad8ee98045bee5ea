"""Hosts: their names, disk space and clocks, and the storage that they share."""

from store.hosts import disk_use, host_health
from store.hosts.disk_use import Stored
from store.hosts.host_health import SEEN_SECONDS, Shortage
from store.hosts.host_names import Holder, NameSession, open_session
from store.hosts.storage import adopt_storage, check_storage

__all__ = [
    "SEEN_SECONDS",
    "Holder",
    "NameSession",
    "Shortage",
    "Stored",
    "adopt_storage",
    "check_storage",
    "disk_use",
    "host_health",
    "open_session",
]
