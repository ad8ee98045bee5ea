"""Moving a database's storage: what rows name is copied to another folder or object store, which then is adopted."""

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import DamagedFile, digest_of_file, make_folder, sync, unfinished_folder
from runtime.storage import Storage, fetch_folder, store_folder
from store.db import Checkpoint, Dataset, File, StorageRefused, Worker
from store.hosts import host_health
from store.hosts.storage import check_storage

#: After so many files it is said how far it is.
_SAID_AFTER = 500


@dataclass(frozen=True, slots=True)
class Copied:
    """`files`: how many are in the new storage now; `lost`: those that the old one lacks, or has damaged."""

    files: int
    lost: Sequence[str]


def copy_storage(
    sessions: sessionmaker[Session], source: Storage, target: Storage, say: Callable[[str], None]
) -> Copied | None:
    """Whatever rows name, with decoded datasets; None where `source` isn't the database's storage. What is there already
    is left, so that a copy that broke off goes on when it is repeated.

    Raises StorageRefused while a worker runs, which would write on into the old one, and StorageAway.
    """
    try:
        check_storage(sessions, source, must_write=False)
    except StorageRefused:
        return None
    with sessions.begin() as session:
        _refuse_running(session)
        digests = _named(session)
        datasets = [f"datasets/{digest}" for digest in _dataset_digests(session)]
    lost = []
    for number, (key, digest) in enumerate(sorted(digests.items()), start=1):
        if not _copy_file(source, target, key, digest):
            lost.append(key)
        if number % _SAID_AFTER == 0:
            say(f"{number} of {len(digests)} files are copied")
    lost += [key for key in datasets if not _copy_folder(source, target, key)]
    return Copied(len(digests) + len(datasets) - len(lost), lost)


def _refuse_running(session: Session) -> None:
    alive = select(Worker.host).where(host_health.seen_lately(), Worker.ended_at.is_(None))
    if hosts := session.scalars(alive.order_by(Worker.host)).all():
        raise StorageRefused(
            f"Workers run on {', '.join(hosts)} and write to the old storage: stop them, the API, the sweep and the "
            f"mirror first. A worker that was killed counts as running for {host_health.SEEN_SECONDS:.0f} s."
        )


def _named(session: Session) -> dict[str, str]:
    return {
        path: digest
        for table in (Checkpoint, File)
        for path, digest in session.execute(select(table.path, table.digest))
    }


def _dataset_digests(session: Session) -> Sequence[str]:
    # Built-in ones are made anew wherever they are missing.
    registered = Dataset.owner_id.is_not(None) & (Dataset.status == "ready")
    return session.scalars(select(Dataset.info["digest"].astext).where(registered)).all()


def _copy_file(source: Storage, target: Storage, key: str, digest: str) -> bool:
    if target.exists(key):
        return True
    place = target.root / key
    make_folder(place.parent)
    unfinished = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copyfile(source.fetch(key, digest), unfinished)
        if digest_of_file(unfinished) != digest:
            return False
        sync(unfinished)
        unfinished.replace(place)
    except (FileNotFoundError, DamagedFile):
        return False
    finally:
        unfinished.unlink(missing_ok=True)
    target.put(key, digest)
    if target.is_remote:
        # Of a whole storage a host has no room for copies.
        place.unlink(missing_ok=True)
    return True


def _copy_folder(source: Storage, target: Storage, key: str) -> bool:
    place = target.root / key
    try:
        if not fetch_folder(source, key):
            return fetch_folder(target, key)
    except DamagedFile:
        return False
    if not place.exists():
        make_folder(place.parent)
        with unfinished_folder(place.parent, ".fetching-") as unfinished:
            shutil.copytree(source.root / key, unfinished, dirs_exist_ok=True)
            unfinished.chmod(0o755)
            unfinished.rename(place)
    store_folder(target, key)
    return True
