"""`python -m worker.mlflow_server`: MLflow's `mlflow server` in one process.

That command imports MLflow, starts uvicorn in a second process, which imports it again, and waits for that
process: 180 MB for nothing. Here uvicorn runs in the command's own process, and sleeps while nobody asks.
MLflow reads some settings while it is imported, before the command reads its options, so these are set in the
environment: MLFLOW_SERVER_ALLOWED_HOSTS, MLFLOW_SERVER_CORS_ALLOWED_ORIGINS and
MLFLOW_SERVER_X_FRAME_OPTIONS.
"""

import os
import sys
from collections.abc import Sequence

from runtime import http_server


def main(options: Sequence[str]) -> None:
    import mlflow.server
    from mlflow.cli import cli

    # It starts the server's process, whose command and environment depend on all of the options.
    mlflow.server._exec_cmd = _serve  # type: ignore[attr-defined, assignment]
    cli(["server", *options], prog_name="mlflow")


def _serve(command: list[str], *, extra_env: dict[str, str], **_: object) -> None:
    """In place of starting `python -m uvicorn OPTIONS mlflow.server.fastapi_app:app`."""
    os.environ.update(extra_env)
    http_server.main(command[command.index("uvicorn") + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
