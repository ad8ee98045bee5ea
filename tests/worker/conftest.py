"""A project in SQL, a mirror's settings, and MLflow as the mirror and a reader reach it."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import structlog
from mlflow import MlflowClient
from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker

from store.db.engine import make_engine
from studies.figures.learning_curves import draw_job
from studies.figures.mpl import png
from tests.support.mirrored import ProjectRows, Reader, RendererHere, make_project_rows
from tests.support.mlflow_server import MIRROR_TOKEN
from tests.support.sketches import PICTURE, Sketcher
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
def _sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror draws figures of each job and study that ends, most of them for tests that look at something else."""
    monkeypatch.setattr("worker.mirror.__main__.Renderer", Sketcher)
    monkeypatch.setattr("worker.mirror.exports.draw_job", lambda *_: None)
    monkeypatch.setattr("worker.mirror.exports.png", lambda _: PICTURE)


@pytest.fixture
def real_figures(_sketched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, in this process: where that happens changes none, and a process takes a second to start."""
    monkeypatch.setattr("worker.mirror.__main__.Renderer", RendererHere)
    monkeypatch.setattr("worker.mirror.exports.draw_job", draw_job)
    monkeypatch.setattr("worker.mirror.exports.png", png)


@pytest.fixture(scope="session", autouse=True)
def _statements_compiled_once() -> Iterator[None]:
    """Each mirror makes an engine of its own, which compiles all of its statements: longer than they take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.mirror.connection.make_engine", kept_engine := cache(make_engine))
        patch.setattr("worker.mirror.__main__.make_engine", kept_engine)
        yield


@pytest.fixture
def project_rows(sessions: sessionmaker[Session]) -> ProjectRows:
    return make_project_rows(sessions)


@pytest.fixture
def settings(worker_database_url: str, mlflow_server: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=worker_database_url,
        mlflow_url=mlflow_server,
        mlflow_token=SecretStr(MIRROR_TOKEN),
        storage=tmp_path,
    )


@pytest.fixture
def tracking(settings: Settings) -> Tracking:
    return Tracking(settings.mlflow_url)


@pytest.fixture
def reader(mlflow_server: str) -> Reader:
    return Reader(MlflowClient(mlflow_server))
