"""`python -m worker.health`: whether this host's worker is alive by its own word in SQL."""

import sys

from sqlalchemy.orm import Session

from store.db import make_engine, make_sessions
from store.hosts import host_views
from store.jobs import is_any_alive
from worker.host.host_lock import find_namespace
from worker.settings import Settings


def main() -> int:
    """Exit status 0 if it was seen lately."""
    settings = Settings()
    engine = make_engine(settings.database_url, pool_size=1)
    with make_sessions(engine).begin() as session:
        return 0 if is_alive(session, settings.host_name, find_namespace()) else 1


def is_alive(session: Session, host: str, namespace: str) -> bool:
    """Of a name with `{n}` in it, whether the one that runs beside this process is: in one container there is one."""
    if "{n}" in host:
        return is_any_alive(session, namespace)
    return any(worker.host == host and worker.alive for worker in host_views.workers_view(session))


if __name__ == "__main__":
    sys.exit(main())
