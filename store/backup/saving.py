"""Making a backup, while everything runs: first the databases, then the files that they name."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import NullPool, create_engine, func, select, text, union_all
from sqlalchemy.orm import Session

from runtime.files import digest_of_file
from store.backup.archive import Archive, Manifest, SavedDatabase, SavedFile
from store.backup.dumps import dump_database, version_of_programs
from store.db import Checkpoint, File

#: What of a home is saved, with all below it. The rest are logs, sockets and what PostgreSQL is dumped for.
PARTS = ("storage", "mlflow", "data", "token")

Say = Callable[[str], None]

#: Being written, or fetched: nobody's yet.
_UNFINISHED = re.compile(r"(^|/)\.(decoding|fetching)-|(^|/)\.[^/]*\.tmp$")
_OF_ATTEMPT = re.compile(r"storage/jobs/[0-9]+/attempt-")


class DamagedFile(Exception):
    """The file is not the one that its row names."""


@dataclass(slots=True)
class Copied:
    """What has been copied so far; `present`: how many contents the folder had already."""

    files: list[SavedFile] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    present: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Moment:
    """What the database says in one snapshot: the revision of its tables, and the digests of the files that rows name."""

    snapshot: str
    revision: str
    digests: Mapping[str, str]


def back_up(
    urls: Mapping[str, str], home: Path, archive: Archive, storage: str | None, say: Say
) -> None:
    """Saves the databases (by name, ours `normlab`) and the home's files. Raises BackupError, and OSError where a disk is
    full or broken: the backup of before stays as it is.

    `storage`: an object store, whose files stay there. A file whose content the archive has, undamaged, is not copied again.
    """
    with archive.prepare():
        before = archive.read()
        databases, moment = _dump_all(urls, archive)
        for one in databases:
            say(f"Database {one.name}: {one.bytes:,} bytes")
        known = {one.path: one for one in before.files} if before else {}
        copied = Copied()
        named = {} if storage else {f"storage/{key}": one for key, one in moment.digests.items()}
        _copy_files(home, archive, named, known, copied)
        archive.sync()
        archive.publish(
            Manifest(
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                normlab=version("normlab"),
                postgres=version_of_programs(),
                revision=moment.revision,
                storage=storage,
                databases=databases,
                files=copied.files,
                missing=copied.missing,
            )
        )
    say(
        f"Files: {len(copied.files)}, of which {copied.present} were in the backup already; "
        f"{copied.bytes:,} bytes copied"
    )
    if archive.damaged:
        count = len(archive.damaged)
        say(
            f"{count} file{'s' if count != 1 else ''} in the backup had been damaged since, and {'were' if count != 1 else 'was'} replaced: check the disk of {archive.folder}"
        )
    if storage:
        say(f"The files in {storage} are not copied: back up the bucket itself")
    for path, reason in copied.missing.items():
        say(f"Not copied: {path} ({reason})")


def _dump_all(urls: Mapping[str, str], archive: Archive) -> tuple[list[SavedDatabase], _Moment]:
    """Ours first: what MLflow has beyond it is found by `mirror verify`; what it lacked would not be sent again."""
    with _one_moment(urls["normlab"]) as moment:
        saved = [_dump("normlab", urls["normlab"], archive, moment.snapshot)]
    return saved + [_dump(name, urls[name], archive) for name in urls if name != "normlab"], moment


def _dump(name: str, url: str, archive: Archive, snapshot: str | None = None) -> SavedDatabase:
    unfinished = archive.databases / f".{name}.tmp"
    unfinished.unlink(missing_ok=True)
    dump_database(url, unfinished, snapshot)
    unfinished.chmod(0o600)
    digest = digest_of_file(unfinished)
    path = unfinished.replace(archive.databases / f"{name}-{digest}.dump")
    return SavedDatabase(name=name, dump=path.name, digest=digest, bytes=path.stat().st_size)


@contextmanager
def _one_moment(url: str) -> Iterator[_Moment]:
    """As long as this is open, `pg_dump` can see the same moment."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="REPEATABLE READ")
    try:
        with Session(engine) as session:
            snapshot = session.scalars(select(func.pg_export_snapshot())).one()
            revision = session.scalars(text("SELECT version_num FROM alembic_version")).one()
            rows = union_all(*(select(one.path, one.digest) for one in (Checkpoint, File)))
            digests = {path: digest for path, digest in session.execute(rows)}
            yield _Moment(snapshot, revision, digests)
    finally:
        engine.dispose()


def _copy_files(
    home: Path,
    archive: Archive,
    named: Mapping[str, str],
    known: Mapping[str, SavedFile],
    copied: Copied,
) -> None:
    for path in _paths(home):
        key = path.relative_to(home).as_posix()
        # Of an attempt, a file exists only once a row names it.
        if _UNFINISHED.search(key) or (_OF_ATTEMPT.match(key) and key not in named):
            continue
        try:
            _copy_file(path, key, archive, named.get(key), known.get(key), copied)
        except FileNotFoundError:
            # The backup's own folder, say: nothing may be left out for that.
            if path.exists():
                raise
        except DamagedFile as error:
            copied.missing[key] = str(error)
    # What nobody names may go at any time, such as a drawn figure that was replaced.
    have = {one.path for one in copied.files}
    for key in named:
        if key not in have:
            copied.missing.setdefault(key, "it was deleted")


def _copy_file(
    path: Path,
    key: str,
    archive: Archive,
    digest: str | None,
    before: SavedFile | None,
    copied: Copied,
) -> None:
    found = path.stat()
    is_unchanged = before is not None and (before.bytes, before.changed_ns) == (
        found.st_size,
        found.st_mtime_ns,
    )
    likely = digest or (before.digest if before and is_unchanged else None)
    if likely is not None and archive.has(likely, found.st_size):
        copied.present += 1
    else:
        likely, size = archive.add(path)
        copied.bytes += size
        if digest is not None and likely != digest:
            raise DamagedFile("it is damaged: its digest is not the one that it was written with")
    copied.files.append(
        SavedFile(
            path=key,
            digest=likely,
            bytes=found.st_size,
            mode=found.st_mode & 0o777,
            changed_ns=found.st_mtime_ns,
        )
    )


def _paths(home: Path) -> Iterator[Path]:
    """The files of the home's parts; links are not followed, as they may lead anywhere."""
    for part in PARTS:
        if (home / part).is_file():
            yield home / part
        for parent, folders, names in os.walk(home / part):
            folders.sort()
            for path in (Path(parent, name) for name in sorted(names)):
                if path.is_file() and not path.is_symlink():
                    yield path
