"""The roles of API, workers and MLflow: what each may do, and how a database without them gets them."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from migrations import __main__ as migrations_main
from migrations import mlflow_database
from migrations.mlflow_database import prepare_mlflow
from migrations.rights import RIGHTS, apply_rights
from migrations.roles import (
    ACCESS,
    API,
    MLFLOW,
    READER,
    WORKER,
    Connection,
    connect,
    execute,
    has_role,
)
from migrations.run import downgrade, upgrade
from normlab.stack.servers import Postgres
from store.db.models import Table

TABLES = ("alembic_version", *Table.metadata.tables)


@pytest.fixture
def owner(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def mlflow_url(postgres: Postgres, database_url: str) -> str:
    prepare_mlflow(database_url, postgres.password(MLFLOW))
    return postgres.url("mlflow", MLFLOW)


def as_role(owner: Connection, role: str, statement: str) -> None:
    """Undone afterwards."""
    with owner.transaction(force_rollback=True):
        execute(owner, "SET LOCAL ROLE {}", role)
        owner.execute(statement.encode())


@pytest.mark.parametrize("role", [API, WORKER, ACCESS, MLFLOW])
def test_a_role_can_log_in_and_nothing_more_on_the_server(
    owner: Connection, mlflow_url: str, role: str
) -> None:
    query = (
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls "
        "FROM pg_roles WHERE rolname = %s"
    )
    assert owner.execute(query, [role]).fetchone() == (True, *[False] * 5)


def test_mlflow_cannot_even_connect_to_our_database(postgres: Postgres, mlflow_url: str) -> None:
    refused = pytest.raises(psycopg.OperationalError, match="permission denied for database")
    with refused, connect(postgres.url("normlab", MLFLOW)):
        pass


@pytest.mark.parametrize("table", TABLES)
def test_mlflow_reads_none_of_our_tables(owner: Connection, mlflow_url: str, table: str) -> None:
    with pytest.raises(InsufficientPrivilege, match="permission denied for table"):
        as_role(owner, MLFLOW, f"SELECT FROM {table}")


@pytest.mark.parametrize("role", [API, WORKER, ACCESS])
def test_our_processes_cannot_connect_to_mlflows_database(
    postgres: Postgres, mlflow_url: str, role: str
) -> None:
    refused = pytest.raises(psycopg.OperationalError, match="permission denied for database")
    with refused, connect(postgres.url("mlflow", role)):
        pass


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (ACCESS, "SELECT FROM jobs"),
        (ACCESS, "SELECT name FROM tokens"),
        (ACCESS, "SELECT * FROM browser_sessions"),
        (ACCESS, "UPDATE tokens SET expires_at = NULL"),
        (ACCESS, "UPDATE users SET role = 'admin'"),
        (ACCESS, "INSERT INTO tokens (user_id, name, hash) VALUES (1, 'mine', 'x')"),
        (WORKER, "SELECT hash FROM tokens"),
        (WORKER, "INSERT INTO users (name, role) VALUES ('eve', 'admin')"),
        (WORKER, "UPDATE users SET role = 'admin'"),
        (WORKER, "DELETE FROM jobs"),
        (WORKER, "UPDATE transitions SET who = 'somebody else'"),
        (WORKER, "UPDATE epochs SET val_loss = 0"),
        (WORKER, "INSERT INTO webhooks DEFAULT VALUES"),
        (API, "SELECT secret FROM webhooks"),
        (API, "UPDATE deliveries SET body = ''"),
        (ACCESS, "SELECT FROM webhooks"),
        (API, "UPDATE epochs SET val_loss = 0"),
        (API, "INSERT INTO verdicts DEFAULT VALUES"),
        (API, "UPDATE workers SET seen_at = now()"),
        (API, "DELETE FROM transitions"),
        (API, "DELETE FROM deletions"),
        (WORKER, "INSERT INTO deletions (kind, subject_id) VALUES ('job', 1)"),
        (API, "DROP TABLE jobs"),
        (API, "CREATE TABLE mine ()"),
        (API, "UPDATE alembic_version SET version_num = '0001'"),
        (API, "COPY users TO PROGRAM 'cat'"),
    ],
)
def test_a_role_may_not_do_what_is_not_its_work(
    owner: Connection, role: str, statement: str
) -> None:
    with pytest.raises(InsufficientPrivilege):
        as_role(owner, role, statement)


def test_the_api_deletes_only_what_it_has_marked_as_deleted(owner: Connection) -> None:
    statement = "INSERT INTO users (name, role) VALUES ('mark', 'member') RETURNING id"
    made = (
        "WITH u AS ("
        + statement
        + ") INSERT INTO projects (name, owner_id) SELECT 'x', id FROM u RETURNING id"
    )
    with owner.transaction(force_rollback=True):
        row = owner.execute(made).fetchone()
        assert row is not None
        execute(owner, "SET LOCAL ROLE {}", API)
        refused = pytest.raises(InsufficientPrivilege, match="is not marked as deleted")
        with refused, owner.transaction():
            owner.execute("DELETE FROM projects")
        owner.execute("INSERT INTO deletions (kind, subject_id) VALUES ('project', %s)", row)
        owner.execute("DELETE FROM projects WHERE id = %s", row)


@pytest.mark.parametrize("role", [API, WORKER, ACCESS])
def test_no_role_may_execute_what_has_the_rights_of_the_owner(owner: Connection, role: str) -> None:
    query = (
        "SELECT proname, has_function_privilege(%s, oid, 'EXECUTE') FROM pg_proc "
        "WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY proname"
    )
    rights = owner.execute(query, [role]).fetchall()
    assert rights == [(name, False) for name in ("add_results", "change_result", "replace_result")]


def test_the_rights_on_every_table_are_listed() -> None:
    assert set(RIGHTS) == set(TABLES)


@pytest.fixture
def old(postgres: Postgres) -> Iterator[str]:
    """The URL of a database as the earlier version left it: one role, and everybody may connect."""
    postgres.create_databases("earlier")
    url = postgres.url("earlier")
    downgrade(url)
    upgrade(url)
    with connect(url) as connection:
        execute(connection, "GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC", "earlier")
    yield url
    with connect(url) as connection:
        for role in ("plain", "manager"):
            if has_role(connection, role):
                execute(connection, "REASSIGN OWNED BY {} TO CURRENT_USER", role)
                execute(connection, "DROP OWNED BY {}", role)
                execute(connection, "DROP ROLE {}", role)


def test_a_database_of_one_role_gets_the_others_and_keeps_its_rows(
    postgres: Postgres, old: str
) -> None:
    with connect(old) as connection:
        connection.execute("INSERT INTO users (name, role) VALUES ('ada', 'member')")
    for _ in range(2):
        assert apply_rights(old, {API: "a" * 32, WORKER: "b" * 32}) == []
    with connect(old, user=API, password="a" * 32) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("ada",)]
    # As the reader of the views still may.
    with connect(old) as connection:
        query = "SELECT has_database_privilege(%s, 'earlier', 'CONNECT')"
        assert connection.execute(query, [READER]).fetchone() == (True,)
    restore_passwords(postgres, old)


def restore_passwords(postgres: Postgres, url: str) -> None:
    """Roles belong to the server, and other tests log in with its own passwords."""
    apply_rights(url, {role: postgres.password(role) for role in (API, WORKER)})


def test_without_passwords_who_may_connect_is_left_alone(old: str) -> None:
    assert apply_rights(old, {}) == []
    with connect(old) as connection:
        query = "SELECT has_database_privilege(%s, 'earlier', 'CONNECT')"
        assert connection.execute(query, [MLFLOW]).fetchone() == (True,)


def make_owner(url: str, role: str, *options: str) -> None:
    """The tables belong to a role that isn't superuser: as with a PostgreSQL that somebody else runs."""
    with connect(url) as connection:
        execute(connection, f"CREATE ROLE {{}} LOGIN PASSWORD 'x' {' '.join(options)}", role)
        for table in TABLES:
            execute(connection, "ALTER TABLE {} OWNER TO {}", table, role)


def test_who_may_make_no_roles_is_told_and_goes_on_with_one(
    old: str,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_owner(old, "plain")
    password = postgres.password()
    url = old.replace(f"normlab:{password}@", "plain:x@")
    monkeypatch.setenv("NORMLAB_DATABASE_URL", url)
    monkeypatch.setenv("NORMLAB_WORKER_DATABASE_PASSWORD", "b" * 32)
    with pytest.raises(SystemExit, match="can't log in with the passwords"):
        migrations_main.main(["upgrade"])
    said = capsys.readouterr().err
    assert "refused to set up the role normlab_worker" in said
    assert "docs/operations.md" in said
    monkeypatch.delenv("NORMLAB_WORKER_DATABASE_PASSWORD")
    migrations_main.main(["upgrade"])
    assert capsys.readouterr().err == ""
    with connect(url) as connection:
        connection.execute("SELECT FROM jobs")


def test_an_owner_who_may_make_roles_needs_to_be_no_superuser(old: str, postgres: Postgres) -> None:
    make_owner(old, "manager", "CREATEROLE")
    url = old.replace(f"normlab:{postgres.password()}@", "manager:x@")
    with connect(old) as connection:
        for role in (API, WORKER):
            execute(connection, "GRANT {} TO {} WITH ADMIN OPTION", role, "manager")
        execute(connection, "ALTER DATABASE {} OWNER TO {}", "earlier", "manager")
    assert apply_rights(url, {API: "a" * 32, WORKER: "b" * 32}) == []
    with connect(old, user=WORKER, password="b" * 32) as connection:
        connection.execute("SELECT FROM jobs")
    with connect(old) as connection:
        execute(connection, "ALTER DATABASE {} OWNER TO CURRENT_USER", "earlier")
    restore_passwords(postgres, old)


def test_what_mlflow_had_made_as_the_owner_becomes_its_own(
    postgres: Postgres, database_url: str, mlflow_url: str
) -> None:
    with connect(postgres.url("mlflow")) as connection:
        connection.execute("CREATE TABLE earlier_runs (id serial PRIMARY KEY, name text)")
        connection.execute("INSERT INTO earlier_runs (name) VALUES ('kept')")
        connection.execute("CREATE VIEW earlier_names AS SELECT name FROM earlier_runs")
    try:
        for _ in range(2):
            prepare_mlflow(database_url, postgres.password(MLFLOW))
        with connect(mlflow_url) as connection:
            connection.execute("ALTER TABLE earlier_runs ADD COLUMN note text")
            connection.execute("INSERT INTO earlier_runs (name) VALUES ('new')")
            rows = connection.execute("SELECT name FROM earlier_names ORDER BY 1").fetchall()
        assert rows == [("kept",), ("new",)]
    finally:
        with connect(postgres.url("mlflow")) as connection:
            connection.execute("DROP TABLE earlier_runs CASCADE")


def test_the_command_for_mlflow_needs_its_password(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_DATABASE_URL", database_url)
    monkeypatch.delenv("NORMLAB_MLFLOW_DATABASE_PASSWORD", raising=False)
    with pytest.raises(SystemExit, match="NORMLAB_MLFLOW_DATABASE_PASSWORD must be set"):
        mlflow_database.main()


def test_the_command_for_mlflow_says_what_its_user_may_not_do(
    old: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_owner(old, "plain")
    url = old.replace(f"normlab:{postgres.password()}@", "plain:x@")
    monkeypatch.setenv("NORMLAB_DATABASE_URL", url)
    monkeypatch.setenv("NORMLAB_MLFLOW_DATABASE_PASSWORD", "c" * 32)
    with pytest.raises(SystemExit, match="refused to set up the role normlab_mlflow"):
        mlflow_database.main()


@pytest.mark.parametrize("command", [lambda: migrations_main.main([]), mlflow_database.main])
def test_a_wrong_password_is_a_sentence(
    command: Callable[[], None], old: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = old.replace(f":{postgres.password()}@", ":of-lost-secrets@")
    monkeypatch.setenv("NORMLAB_DATABASE_URL", url)
    monkeypatch.setenv("NORMLAB_MLFLOW_DATABASE_PASSWORD", "c" * 32)
    with pytest.raises(SystemExit, match=r"can't be reached: .* how to set its password anew"):
        command()
