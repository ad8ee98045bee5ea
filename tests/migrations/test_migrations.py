"""The migrations, on a database of their own."""

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine, inspect
from sqlalchemy.orm import Session

from migrations import __main__ as migrations_main
from migrations.run import downgrade, is_current, make_config, upgrade
from normlab.servers import Postgres
from store import datasets, users
from store.engine import make_engine
from store.models import Table


@pytest.fixture
def empty_engine(postgres: Postgres) -> Iterator[Engine]:
    postgres.create_databases("migrations")
    engine = make_engine(postgres.url("migrations"))
    downgrade(address(engine))
    yield engine
    engine.dispose()


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def test_an_empty_database_gets_all_tables(empty_engine: Engine) -> None:
    with empty_engine.connect() as connection:
        assert not is_current(connection)

    upgrade(address(empty_engine))

    assert set(Table.metadata.tables) <= set(inspect(empty_engine).get_table_names())
    with empty_engine.connect() as connection:
        assert is_current(connection)


def test_going_down_leaves_nothing_and_going_up_again_works(empty_engine: Engine) -> None:
    upgrade(address(empty_engine))
    downgrade(address(empty_engine))
    assert inspect(empty_engine).get_table_names() == ["alembic_version"]

    upgrade(address(empty_engine))
    upgrade(address(empty_engine))

    assert inspect(empty_engine).has_table("jobs")


def test_autogenerate_finds_no_difference(empty_engine: Engine) -> None:
    upgrade(address(empty_engine))

    command.check(make_config(address(empty_engine)))


def test_the_command_also_makes_the_datasets_and_the_admin(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_DATABASE_URL", address(empty_engine))
    monkeypatch.setenv("NORMLAB_BOOTSTRAP_TOKEN", "nl_first")

    migrations_main.main(["upgrade"])
    migrations_main.main(["upgrade"])

    with Session(empty_engine) as session:
        digits = datasets.find(session, "digits")
        assert digits is not None
        assert digits.status == "ready"
        admin = users.authenticate(session, "nl_first")
        assert admin is not None
        assert admin.role == "admin"
