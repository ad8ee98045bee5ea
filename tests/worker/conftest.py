"""A project in SQL, a mirror's settings, and MLflow as the mirror and a reader reach it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from mlflow import MlflowClient
from sqlalchemy.orm import Session, sessionmaker

from tests.support.mirrored import ProjectRows, Reader, RendererHere, make_project_rows
from worker.mirror.__main__ import Settings
from worker.mirror.tracking import Tracking


@pytest.fixture(scope="package", autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """As in production: structlog's default takes seconds to draw one with all its locals."""
    processors = [structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=False)]
    structlog.configure(processors=processors)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _forked(preload: None) -> None:
    """Workers and helpers load no libraries."""


@pytest.fixture(autouse=True)
def _drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror draws the report of each study that ends, most of them for tests that look at something else."""
    monkeypatch.setattr("worker.mirror.__main__.Renderer", RendererHere)


@pytest.fixture
def project_rows(sessions: sessionmaker[Session]) -> ProjectRows:
    return make_project_rows(sessions)


@pytest.fixture
def settings(worker_database_url: str, mlflow_server: str, tmp_path: Path) -> Settings:
    return Settings(database_url=worker_database_url, mlflow_url=mlflow_server, storage=tmp_path)


@pytest.fixture
def tracking(settings: Settings) -> Tracking:
    return Tracking(settings.mlflow_url)


@pytest.fixture
def reader(mlflow_server: str) -> Reader:
    return Reader(MlflowClient(mlflow_server))
