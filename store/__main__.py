"""`python -m store bootstrap`: fill the database of NORMLAB_DATABASE_URL with what every service needs.
`python -m store adopt-storage`: make NORMLAB_STORAGE the storage of that database, whatever was before.

The first admin's token is NORMLAB_BOOTSTRAP_TOKEN.
"""

import os
import sys

from pydantic import ValidationError

from runtime.settings import StorageSettings
from runtime.storage import StorageAway
from store.accounts import bootstrap
from store.db import BadSecret, StorageRefused, make_engine, make_sessions
from store.hosts import adopt_storage


def main(arguments: list[str]) -> str | None:
    """Returns why it failed."""
    match arguments:
        case ["bootstrap"]:
            return _bootstrap()
        case ["adopt-storage"]:
            return _adopt()
        case _:
            return "usage: python -m store [bootstrap|adopt-storage]"
    return None


def _bootstrap() -> str | None:
    try:
        bootstrap(os.environ["NORMLAB_DATABASE_URL"], os.environ.get("NORMLAB_BOOTSTRAP_TOKEN"))
    except BadSecret as error:
        return f"NORMLAB_BOOTSTRAP_TOKEN is refused: {error}"
    return None


def _adopt() -> str | None:
    for name in ("NORMLAB_DATABASE_URL", "NORMLAB_STORAGE"):
        if not os.environ.get(name):
            return f"{name} is not set"
    try:
        storage = StorageSettings().storage
    except ValidationError as error:
        return str(error)
    engine = make_engine(os.environ["NORMLAB_DATABASE_URL"], pool_size=1)
    try:
        adopted = adopt_storage(make_sessions(engine), storage)
    except (StorageRefused, StorageAway) as error:
        return str(error)
    finally:
        engine.dispose()
    print(  # noqa: T201
        f"{storage} is the storage now, with the id {adopted.id}. If the API, workers, the sweep or the mirror run, "
        f"restart them.\n"
        f"Of the {adopted.named} files in the database, {adopted.missing} are missing in it."
    )
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
