"""PostgreSQL of its own with Normlab's tables, durable as in service."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine

from migrations.run import upgrade
from normlab.stack.servers import Postgres
from store.catalog import datasets
from store.db.engine import make_engine, make_sessions


@contextmanager
def make_database(folder: Path) -> Iterator[tuple[Postgres, Engine]]:
    """A migrated database `bench`, which holds the built-in datasets."""
    with ExitStack() as stack:
        postgres = Postgres(folder / "postgres")
        postgres.start()
        stack.callback(postgres.stop)
        postgres.create_databases("bench")
        upgrade(postgres.url("bench"))
        engine = make_engine(postgres.url("bench"))
        stack.callback(engine.dispose)
        with make_sessions(engine).begin() as session:
            datasets.seed_built_in(session)
        yield postgres, engine
