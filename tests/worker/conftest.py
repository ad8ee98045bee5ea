"""A project in SQL, a mirror's settings, and MLflow as the mirror and a reader reach it."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy.orm import Session, sessionmaker

from tests.support.mirrored import ProjectRows, Reader, make_project_rows
from worker.mirror.__main__ import Settings
from worker.mirror.tracking import Tracking


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
