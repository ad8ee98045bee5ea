"""Backups of a home: its databases, and the files that they name, each once by its digest.

BackupError
    what was asked can't be done; the message says why, and what to do
"""

from store.backup.archive import Archive, BackupError
from store.backup.restoring import restore
from store.backup.saving import back_up

__all__ = ["Archive", "BackupError", "back_up", "restore"]
