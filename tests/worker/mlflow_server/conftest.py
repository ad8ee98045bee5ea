"""People with tokens, a run that the mirror has written, and MLflow's client and page as each of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import authentication, users

#: Who asks: MLflow's variables, filled in with the name of a user and a token of theirs.
LOGINS = {
    "password": {"MLFLOW_TRACKING_USERNAME": "{name}", "MLFLOW_TRACKING_PASSWORD": "{token}"},
    "token": {"MLFLOW_TRACKING_TOKEN": "{token}"},
}


@dataclass(frozen=True, slots=True)
class People:
    """Each with one user."""

    sessions: sessionmaker[Session]
    url: str

    def add(self, role: users.Role, **token: Any) -> tuple[str, str]:
        """The name of a new user, and a token of theirs."""
        with self.sessions.begin() as session:
            user = users.find(session, role) or users.create_user(session, role, role)
            _, secret = users.create_token(session, user, "laptop", **token)
            return user.name, secret

    def add_expired(self) -> str:
        return self.add("member", expires_at=datetime(2026, 1, 1, tzinfo=UTC))[1]

    def add_revoked(self) -> str:
        _, secret = self.add("member")
        with self.sessions.begin() as session:
            token = authentication.lock_token(session, secret)
            assert token is not None
            users.revoke_token(session, token.id)
        return secret

    def add_disabled(self) -> str:
        _, secret = self.add("viewer")
        with self.sessions.begin() as session:
            user = users.find(session, "viewer")
            assert user is not None
            users.disable_user(session, user)
        return secret

    @contextmanager
    def client(self, name: str, token: str, login: str = "password") -> Iterator[MlflowClient]:
        """MLflow's own, which reads its variables at each request."""
        with pytest.MonkeyPatch.context() as patch:
            for variable in {key for variables in LOGINS.values() for key in variables}:
                patch.delenv(variable, raising=False)
            for variable, value in LOGINS[login].items():
                patch.setenv(variable, value.format(name=name, token=token))
            yield MlflowClient(self.url)

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One that isn't MLflow's client."""
        return httpx.request(method, self.url + path, timeout=60, **request)


@pytest.fixture
def people(sessions: sessionmaker[Session], mlflow_server: str) -> People:
    return People(sessions, mlflow_server)


@pytest.fixture(scope="module")
def run_id(mlflow_server: str) -> str:
    """A run with a metric, a parameter, a file and a model, in an experiment of its own."""
    client = MlflowClient(mlflow_server)
    experiment = client.create_experiment(f"access {datetime.now(UTC):%H%M%S%f}")
    run: str = client.create_run(experiment, run_name="batch | seed 1").info.run_id
    client.log_metric(run, "test/accuracy", 0.75, step=3)
    client.log_param(run, "norm.kind", "batch")
    client.log_text(run, "what the mirror has sent", "curves/notes.txt")
    client.create_logged_model(experiment, name="best", source_run_id=run)
    return run
