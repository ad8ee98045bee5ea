"""`python -m worker.preflight`: whether a worker could start on this host: its database, broker and storage."""

import sys
from collections.abc import Iterator

import redis
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import StorageAway
from store.db import DATABASE_AWAY, StorageRefused, make_engine, make_sessions
from store.hosts import check_storage, find_missing_rights
from worker.settings import Settings

CONNECT_SECONDS = 10.0


def main() -> int:
    """Exit status 1, with a sentence for each problem, where it could not."""
    try:
        settings = Settings()
    except ValidationError as error:
        found = [str(error)]
    else:
        found = list(problems(settings))
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return 1 if found else 0


def problems(settings: Settings) -> Iterator[str]:
    """What keeps a worker from starting, a sentence each."""
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        yield from _problems_of_database(make_sessions(engine), settings)
    finally:
        engine.dispose()
    # As redis-py calls a Unix socket.
    url = settings.redis_url.replace("redis+socket://", "unix://", 1)
    try:
        with redis.Redis.from_url(url, socket_timeout=CONNECT_SECONDS) as broker:
            broker.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        yield f"Redis can't be reached (NORMLAB_REDIS_URL): {error}"


def _problems_of_database(sessions: sessionmaker[Session], settings: Settings) -> Iterator[str]:
    try:
        with sessions.begin() as session:
            missing = find_missing_rights(session)
        if missing is not None:
            yield missing
            return
        check_storage(sessions, settings.storage)
    except (StorageRefused, StorageAway) as error:
        yield str(error)
    except DATABASE_AWAY as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        yield f"the database can't be reached (NORMLAB_DATABASE_URL): {reason}"


if __name__ == "__main__":
    sys.exit(main())
