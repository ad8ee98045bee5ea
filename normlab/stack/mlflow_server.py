"""The command line and environment of MLflow's tracking server.

At its defaults the server was seen with 15 processes and 2.4 GB; one worker without job execution
is one process (worker/mlflow_server), of 225 MB after the demo.
"""

import sys
from pathlib import Path

#: Answers 200 as soon as the server takes requests.
HEALTH_PATH = "/health"
#: MLflow reads it while it is imported.
TELEMETRY_OFF = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def server_command(
    *,
    artifacts: Path | str,
    port: int,
    host: str = "127.0.0.1",
    python: str = sys.executable,
) -> list[str]:
    """The server's argv."""
    return [
        *(python, "-m", "worker.mlflow_server"),
        *("--host", host),
        *("--port", str(port)),
        *("--workers", "1"),
        *("--artifacts-destination", str(artifacts)),
    ]


def server_environment(
    database_url: str, *, access_url: str, mirror_token: str, allowed_hosts: str | None = None
) -> dict[str, str]:
    """What to add to the environment; URLs and the token go here because argv is public (`ps`).

    `database_url` names a database that nothing else uses, in SQLAlchemy's form with psycopg:
    `postgresql+psycopg://user:password@host/mlflow` or `...://user@/mlflow?host=/socket/folder`.
    The server creates its tables at its first start. `access_url` names Normlab's own database, where tokens are looked
    up; whoever sends `mirror_token` may write. `allowed_hosts` (a list with commas) is needed where
    others than this machine call it, or a proxy renames it.
    """
    hosts = {"MLFLOW_SERVER_ALLOWED_HOSTS": allowed_hosts} if allowed_hosts is not None else {}
    return {
        **hosts,
        "MLFLOW_BACKEND_STORE_URI": database_url,
        "NORMLAB_DATABASE_URL": access_url,
        "NORMLAB_MLFLOW_TOKEN": mirror_token,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **TELEMETRY_OFF,
        # One process with few threads: a pool of its own size, not five plus ten of overflow.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "5",
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "5",
    }
