"""Restoring a backup into a home that has nothing yet."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from store.backup.archive import Archive, BackupError, Manifest
from store.backup.dumps import restore_database
from store.backup.saving import PARTS, Say


def restore(urls: Mapping[str, str], home: Path, archive: Archive, say: Say) -> None:
    """Fills empty databases and copies the files, each verified by its digest. Raises BackupError."""
    manifest = archive.read()
    if manifest is None:
        raise BackupError(f"there is no complete backup in {archive.folder}")
    dumps = {one.name: archive.dump_of(one) for one in manifest.databases}
    if others := set(dumps) - set(urls):
        raise BackupError(f"the backup has the database {min(others)}, for which no URL is given")
    for name, path in dumps.items():
        restore_database(urls[name], path)
        say(f"Database {name}: restored")
    for file in manifest.files:
        archive.extract(file, home / _safe(file.path))
    say(_describe(manifest))
    if manifest.storage:
        say(f"The files in {manifest.storage} are not part of the backup")
    for lost, reason in manifest.missing.items():
        say(f"Missing already in the backup: {lost} ({reason})")


def _safe(path: str) -> PurePosixPath:
    """Raises BackupError for a path that leads out of the home's parts."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] not in PARTS or ".." in parts:
        raise BackupError(f"the manifest names {path!r}, which is no path of a home")
    return PurePosixPath(path)


def _describe(manifest: Manifest) -> str:
    size = sum(one.bytes for one in manifest.files)
    return (
        f"Files: {len(manifest.files)}, {size:,} bytes, all as in the backup of {manifest.made_at} "
        f"(Normlab {manifest.normlab}, tables {manifest.revision})"
    )
