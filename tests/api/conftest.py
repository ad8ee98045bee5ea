"""The API in this process, over real PostgreSQL and Redis, with one real checker for all tests."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from api.app import make_app
from api.processes.spec_checker import Checker
from api.settings import Settings
from runtime.http_server import PatientProtocol
from store.accounts import users
from store.accounts.users import Role
from store.db.engine import make_sessions
from store.hosts.storage import adopt_storage
from tests.support.waiting import wait_for

Clients = Callable[[str], TestClient]


@pytest.fixture(scope="session", autouse=True)
def short_tracebacks() -> Iterator[None]:
    """As in production: structlog's default takes minutes to draw one with all its locals."""
    processors = [structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=False)]
    structlog.configure(processors=processors)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _forked(preload: None) -> None:
    """Workers and helpers load no libraries."""


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def settings(api_database_url: str, redis_url: str, storage: Path, data_root: Path) -> Settings:
    return Settings(
        database_url=api_database_url,
        redis_url=redis_url,
        storage=storage,
        data_roots=(data_root,),
        mlflow_url="http://mlflow.test:5000",
        # A busy machine is no reason to fail.
        check_start_seconds=500,
        check_seconds=90,
        check_wait_seconds=90,
        study_check_seconds=90,
        draw_wait_seconds=90,
        # Tests ask as fast as they can.
        requests_per_second=0,
    )


@pytest.fixture(scope="session")
def app(settings: Settings, engine: Engine) -> Iterator[FastAPI]:
    """Started once; every test has a clean database behind it."""
    adopt_storage(make_sessions(engine), settings.storage)
    app = make_app(settings)
    with TestClient(app) as client:
        wait_until_ready(client)
        yield app


@pytest.fixture
def replace(app: FastAPI) -> Iterator[Callable[..., None]]:
    """Gives the app other services until the test ends: `replace(settings=...)`."""
    before = app.state.services

    def replace(**changes: Any) -> None:
        app.state.services = dataclasses.replace(app.state.services, **changes)

    yield replace
    app.state.services = before


@pytest.fixture
def checker(app: FastAPI) -> Checker:
    checker: Checker = app.state.services.checker
    return checker


@pytest.fixture
def sign_in(app: FastAPI, sessions: sessionmaker[Session]) -> Clients:
    """A client with the token of a new person of this name and role: `ann:member`."""

    def sign_in(person: str) -> TestClient:
        name, _, role = person.partition(":")
        with sessions.begin() as session:
            user = users.create_user(session, name, _role(role))
            _, secret = users.create_token(session, user, "test")
        headers = {"Authorization": f"Bearer {secret}"}
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    return sign_in


@pytest.fixture
def admin(sign_in: Clients) -> TestClient:
    return sign_in("ada:admin")


@pytest.fixture
def member(sign_in: Clients) -> TestClient:
    return sign_in("max:member")


@pytest.fixture
def viewer(sign_in: Clients) -> TestClient:
    return sign_in("vera:viewer")


@pytest.fixture
def server(app: FastAPI) -> Iterator[uvicorn.Server]:
    """The API behind real HTTP."""
    config = uvicorn.Config(app, port=0, http=PatientProtocol, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join()


@pytest.fixture
def address(server: uvicorn.Server) -> str:
    """Where it listens."""
    [listening] = server.servers
    return f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def wait_until_ready(client: TestClient) -> None:
    wait_for(lambda: client.get("/readyz").status_code == 200, "the API is ready", 600)


def _role(name: str) -> Role:
    match name:
        case "admin" | "member" | "viewer":
            return name
        case _:
            raise ValueError(name)
