"""What a new service needs in its tables before anybody can use it."""

from store import datasets, users
from store.engine import make_engine, make_sessions

ADMIN = "admin"


def bootstrap(url: str, token: str | None) -> None:
    """The built-in datasets and, given a token, the admin who has it; harmless when they exist."""
    engine = make_engine(url)
    try:
        with make_sessions(engine).begin() as session:
            datasets.seed_built_in(session)
            if token:
                users.bootstrap_admin(session, ADMIN, token)
    finally:
        engine.dispose()
