"""Where hosts share what they write: a folder, or an object store with copies on each host."""

from runtime.storage.bundles import fetch_folder, store_folder
from runtime.storage.folder import FolderStorage
from runtime.storage.interface import (
    Entry,
    Progress,
    Storage,
    StorageAway,
    StorageError,
    write,
)
from runtime.storage.local_copies import LocalCopies
from runtime.storage.location import is_object_store, open_storage
from runtime.storage.object_store import ObjectStore

__all__ = [
    "Entry",
    "FolderStorage",
    "LocalCopies",
    "ObjectStore",
    "Progress",
    "Storage",
    "StorageAway",
    "StorageError",
    "fetch_folder",
    "is_object_store",
    "open_storage",
    "store_folder",
    "write",
]
