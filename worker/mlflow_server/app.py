"""MLflow's application behind the login: what uvicorn serves."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.db import make_engine, make_sessions
from worker.mlflow_server.access import Access
from worker.mlflow_server.callers import Callers

#: Whose answers are kept asks rarely: a page's first requests are one question.
_CONNECTIONS = 2


class Settings(BaseSettings):
    """What the environment says (NORMLAB_*), beside MLflow's own settings."""

    # What was given holds passwords, and an error about it goes to the log.
    model_config = SettingsConfigDict(env_prefix="NORMLAB_", frozen=True, hide_input_in_errors=True)

    # Ours, not MLflow's: where tokens are looked up.
    database_url: str
    # The mirror's, who alone writes.
    mlflow_token: SecretStr = Field(min_length=32)


def make_app() -> Access:
    # Its import reads settings that `mlflow server` has put into the environment by now.
    from mlflow.server.fastapi_app import app

    settings = Settings()
    callers = Callers(make_sessions(make_engine(settings.database_url, pool_size=_CONNECTIONS)))
    return Access(app, callers, settings.mlflow_token.get_secret_value())
