"""`python -m store bootstrap`: fill the database of NORMLAB_DATABASE_URL with what every service needs.
`python -m store adopt-storage [FROM]`: make NORMLAB_STORAGE the storage of that database, whatever was before. What the
database names in FROM, if that is its storage until now, is copied first: a folder, or s3://bucket/prefix.
`python -m store backup HOME FOLDER [--quick]`: save that database, MLflow's (NORMLAB_MLFLOW_DATABASE_URL) and the home's
files. What FOLDER has already is read and compared with its digest; `--quick`: only its size is.
`python -m store restore HOME FOLDER`: the way back, into empty databases and a new home.

The first admin's token is NORMLAB_BOOTSTRAP_TOKEN. Dumps need PostgreSQL's client programs on PATH.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from runtime.settings import StorageSettings
from runtime.storage import Storage, StorageAway, is_object_store, open_storage
from store.accounts import bootstrap
from store.backup import Archive, BackupError, back_up, restore
from store.db import BadSecret, StorageRefused, make_engine, make_sessions
from store.hosts import adopt_storage, copy_storage


def main(arguments: list[str]) -> str | None:
    """Returns why it failed."""
    match arguments:
        case ["bootstrap"]:
            return _bootstrap()
        case ["adopt-storage"]:
            return _adopt()
        case ["adopt-storage", source]:
            return _adopt(source)
        case ["backup", home, folder, *options] if options in ([], ["--quick"]):
            given = os.environ.get("NORMLAB_STORAGE", "")
            store = given if is_object_store(given) else None
            archive = Archive(Path(folder), quick=bool(options))
            return _explained(lambda: back_up(_databases(), Path(home), archive, store, _say))
        case ["restore", home, folder]:
            return _explained(
                lambda: restore(_databases(), Path(home), Archive(Path(folder)), _say)
            )
        case _:
            return "usage: python -m store [bootstrap | adopt-storage [FROM] | backup HOME FOLDER [--quick] | restore HOME FOLDER]"


def _bootstrap() -> str | None:
    try:
        bootstrap(os.environ["NORMLAB_DATABASE_URL"], os.environ.get("NORMLAB_BOOTSTRAP_TOKEN"))
    except BadSecret as error:
        return f"NORMLAB_BOOTSTRAP_TOKEN is refused: {error}"
    return None


def _adopt(source: str | None = None) -> str | None:
    for name in ("NORMLAB_DATABASE_URL", "NORMLAB_STORAGE"):
        if not os.environ.get(name):
            return f"{name} is not set"
    try:
        settings = StorageSettings()
        old = None if source is None else _open_old(source, settings)
    except (ValidationError, ValueError) as error:
        return str(error)
    engine = make_engine(os.environ["NORMLAB_DATABASE_URL"], pool_size=1)
    sessions, storage = make_sessions(engine), settings.storage
    try:
        if old is not None:
            _copy(sessions, old, storage)
        adopted = adopt_storage(sessions, storage)
    except (StorageRefused, StorageAway) as error:
        return str(error)
    finally:
        engine.dispose()
    _say(
        f"{storage} is the storage now, with the id {adopted.id}. If the API, workers, the sweep or the mirror run, "
        f"restart them.\n"
        f"Of the {adopted.named} files in the database, {adopted.missing} are missing in it."
    )
    return None


def _open_old(source: str, settings: StorageSettings) -> Storage:
    """As NORMLAB_STORAGE is opened; raises ValueError."""
    cache_bytes = int(settings.cache_mb * 1e6)
    return open_storage(
        source, endpoint=settings.s3_endpoint, cache=settings.cache, cache_bytes=cache_bytes
    )


def _copy(sessions: sessionmaker[Session], old: Storage, storage: Storage) -> None:
    copied = copy_storage(sessions, old, storage, _say)
    if copied is None:
        _say(f"{old} is not the database's storage: nothing is copied from there.")
        return
    _say(f"{copied.files} files and datasets of {old} are in {storage}.")
    for key in copied.lost:
        _say(f"{key} is missing or damaged in {old}")


def _databases() -> dict[str, str]:
    """The URLs of those that are given."""
    variables = {"normlab": "NORMLAB_DATABASE_URL", "mlflow": "NORMLAB_MLFLOW_DATABASE_URL"}
    urls = {name: os.environ.get(variable) for name, variable in variables.items()}
    if not urls["normlab"]:
        raise BackupError("NORMLAB_DATABASE_URL is not set")
    return {name: url for name, url in urls.items() if url}


def _explained(action: Callable[[], None]) -> str | None:
    try:
        action()
    except (BackupError, OSError, SQLAlchemyError) as error:
        return str(error)
    return None


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command's voice


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
