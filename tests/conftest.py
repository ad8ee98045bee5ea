"""Real servers for the tests, sockets to this machine only, and no skip where none is allowed."""

import gc
import os

# Numerical libraries read these when they are loaded. The tests' models and arrays are tiny: a second
# thread costs more than it gives, above all beside other tests.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import signal
from collections.abc import Generator, Iterator
from types import FrameType

import psutil
import pytest
from pytest_socket import socket_allow_hosts
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker
from xdist.remote import Producer
from xdist.workermanage import NodeManager

from migrations.rights import apply_rights
from migrations.roles import ACCESS, API, WORKER
from migrations.run import upgrade
from normlab.stack.servers import Postgres, Redis
from store.catalog.datasets import seed_built_in
from store.db.engine import make_engine, make_sessions
from store.db.models import Table
from tests.support.budgets import Budget, complaint, ends_module
from tests.support.mlflow_server import mlflow_server  # noqa: F401 - a fixture
from tests.support.object_store import bucket, object_server  # noqa: F401 - fixtures
from tests.support.preload import preload  # noqa: F401 - a fixture
from tests.support.sharing import ByUnit, place

#: What a test may lack even where all that can be installed is.
EXCUSES = ("gpu", "docker", "shared_data")

#: Several times faster than TRUNCATE, which makes new files for every table and index.
_EMPTY = text(
    "; ".join(f"DELETE FROM {table.name}" for table in reversed(Table.metadata.sorted_tables))
)

_budget = Budget()

# xdist kills the processes of an interrupted run after ten seconds: a whole stack takes longer to stop on
# a busy machine, and would be left running.
NodeManager.EXIT_TIMEOUT = 120


def pytest_configure(config: pytest.Config) -> None:
    """Told to end, the tests stop their servers, as after Ctrl-C."""
    controls_others = bool(config.getoption("numprocesses", None)) and not hasattr(
        config, "workerinput"
    )

    def end(number: int, frame: FrameType | None) -> None:
        # Ctrl-C reaches all processes of a terminal, another signal only this one.
        for process in psutil.Process().children() if controls_others else []:
            process.terminate()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGTERM, end)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByUnit:
    return ByUnit(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long units first, so that all processes end at about the same time."""
    items.sort(key=lambda item: place(item.nodeid))


def pytest_collection_finish() -> None:
    """Importing is nobody's test."""
    # What was imported stays until the end, half a million objects that no full collection need look through.
    gc.freeze()
    _budget.start()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """The last test of a module fails if they took too much together, servers of the session aside."""
    used = _budget.used()
    is_last = ends_module(item, nextitem)
    try:
        yield
    finally:
        if is_last:
            _budget.start()
    if is_last and (problem := complaint(item.nodeid.partition("::")[0], used)) is not None:
        pytest.fail(problem, pytrace=False)


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    """No test reaches beyond this machine; pytest-socket lifts it after each test."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NORMLAB_REQUIRE_ALL, a skip fails unless its test is marked with an excuse."""
    report = yield
    excused = any(item.get_closest_marker(name) for name in EXCUSES)
    if report.skipped and os.environ.get("NORMLAB_REQUIRE_ALL") and not excused:
        report.outcome = "failed"
        report.longrepr = f"skipped, but NORMLAB_REQUIRE_ALL is set: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _without_sync() -> Iterator[None]:
    """No test cuts the power, and waiting for the disk takes longer than most tests' own work."""
    with pytest.MonkeyPatch.context() as patch:
        # A closed file is still an error.
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of this process's own (with xdist: one per worker), without a database of Normlab's."""
    server = Postgres(tmp_path_factory.mktemp("postgres") / "server", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def database_url(postgres: Postgres) -> str:
    """A database with the present tables, shared by all tests of this process: see `sessions`."""
    postgres.create_databases("normlab")
    url = postgres.url("normlab")
    upgrade(url)
    apply_rights(url, {role: postgres.password(role) for role in (ACCESS, API, WORKER)})
    return url


@pytest.fixture(scope="session")
def api_database_url(postgres: Postgres, database_url: str) -> str:
    """That database as the API may use it."""
    return postgres.url("normlab", API)


@pytest.fixture(scope="session")
def worker_database_url(postgres: Postgres, database_url: str) -> str:
    """That database as workers, sweep and mirror may use it."""
    return postgres.url("normlab", WORKER)


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=10)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions on tables that hold nothing but the built-in datasets."""
    factory = make_sessions(engine)
    with factory.begin() as session:
        session.connection().execute(_EMPTY)
        seed_built_in(session)
    return factory


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis") / "server")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_url(redis: Redis) -> str:
    """A Redis of this process's own, on a Unix socket."""
    return redis.url
