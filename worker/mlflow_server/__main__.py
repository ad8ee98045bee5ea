"""`python -m worker.mlflow_server`: MLflow's `mlflow server` in one process, behind Normlab's login.

That command imports MLflow, starts uvicorn in a second process, which imports it again, and waits for that
process: 180 MB for nothing. Here uvicorn runs in the command's own process, and sleeps while nobody asks.
MLflow reads some settings while it is imported, before the command reads its options, so these are set in the
environment: MLFLOW_SERVER_ALLOWED_HOSTS, MLFLOW_SERVER_CORS_ALLOWED_ORIGINS and
MLFLOW_SERVER_X_FRAME_OPTIONS. NORMLAB_PUBLIC_MLFLOW_URL is the address that people have it under behind a proxy.
"""

import os
import sys
from collections.abc import MutableMapping, Sequence
from urllib.parse import urlsplit

from runtime import http_server

#: Served in place of MLflow's own application, which it stands before.
APP = "worker.mlflow_server.app:make_app"


def main(options: Sequence[str]) -> None:
    if public_url := os.environ.get("NORMLAB_PUBLIC_MLFLOW_URL"):
        allow_address(os.environ, public_url)
    import mlflow.server
    from mlflow.cli import cli

    # It starts the server's process, whose command and environment depend on all of the options.
    mlflow.server._exec_cmd = _serve  # type: ignore[attr-defined, assignment]
    cli(["server", *options], prog_name="mlflow")


def allow_address(environment: MutableMapping[str, str], url: str) -> None:
    """MLflow refuses whoever asks for it by a name that isn't in its list, and what its own page sends from there."""
    parts = urlsplit(url)
    # Without a list it takes this machine's names and private addresses; a list of one would end that.
    if hosts := environment.get("MLFLOW_SERVER_ALLOWED_HOSTS"):
        environment["MLFLOW_SERVER_ALLOWED_HOSTS"] = f"{hosts},{parts.netloc}"
    environment.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", f"{parts.scheme}://{parts.netloc}")


def _serve(command: list[str], *, extra_env: dict[str, str], **_: object) -> None:
    """In place of starting `python -m uvicorn OPTIONS mlflow.server.fastapi_app:app`."""
    os.environ.update(extra_env)
    *options, app = command[command.index("uvicorn") + 1 :]
    assert app == "mlflow.server.fastapi_app:app", app
    http_server.main([*options, "--factory", APP])


if __name__ == "__main__":
    main(sys.argv[1:])
