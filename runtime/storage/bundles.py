"""Folders that are used as a whole, such as decoded datasets: complete on a host, or not there at all.

An object store has no folders: a list of the files with their digests, stored after them, says that all are there.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from runtime.files import DamagedFile, digest_of_file, make_folder, sync, unfinished_folder
from runtime.storage.interface import Progress, Storage, no_progress, write


def store_folder(storage: Storage, key: str, progress: Progress = no_progress) -> None:
    """The folder of this host, which has files only, for all hosts. Nothing to do where it is shared."""
    if not storage.is_remote or storage.exists(_list_of(key)):
        return
    digests = {}
    for path in sorted((storage.root / key).iterdir()):
        digests[path.name] = digest_of_file(path, progress)
        storage.put(f"{key}/{path.name}", digests[path.name], progress)
    write(storage, _list_of(key), json.dumps(digests).encode())


def fetch_folder(storage: Storage, key: str, progress: Progress = no_progress) -> bool:
    """Whether the folder is on this host now. Raises DamagedFile where what has come is not what was stored."""
    folder = storage.root / key
    if not storage.is_remote:
        return folder.exists()
    if folder.exists():
        with suppress(OSError):  # Another user's.
            os.utime(folder)
        return True
    try:
        digests = json.loads(storage.read(_list_of(key)))
    except FileNotFoundError:
        return False
    make_folder(folder.parent)
    with unfinished_folder(folder.parent, ".fetching-") as unfinished:
        for name, digest in digests.items():
            try:
                storage.fetch(f"{key}/{name}", digest, unfinished / Path(name).name, progress)
            except FileNotFoundError as error:
                raise DamagedFile(f"{key}/{name} is missing in {storage}") from error
        # Hosts may run under other users.
        unfinished.chmod(0o755)
        _publish(unfinished, folder)
    return True


def _publish(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        # Another process was faster; what it has fetched is the same.
        if not folder.exists():
            raise
    sync(folder.parent)


def _list_of(key: str) -> str:
    return f"{key}.files.json"
