"""`python -m worker.mlflow_server`: MLflow's `mlflow server`, with its options, in one process.

That command imports MLflow twice, in itself and in the uvicorn that it starts, and then only waits for
that one. Here uvicorn runs in the process of the command: three CPU seconds and 200 MB less.
"""

import os
import sys
from collections.abc import Sequence

import uvicorn


def main(options: Sequence[str]) -> None:
    # Read while MLflow is imported: FastAPI's middleware checks the hosts, not also Flask's.
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
    import mlflow.server
    from mlflow.cli import cli

    vars(mlflow.server)["_exec_cmd"] = _serve
    cli(["server", *options], prog_name="mlflow")


def _serve(command: list[str], *, extra_env: dict[str, str], **_: object) -> None:
    """In place of starting `python -m uvicorn OPTIONS mlflow.server.fastapi_app:app`."""
    os.environ.update(extra_env)
    uvicorn.main(command[command.index("uvicorn") + 1 :], prog_name="uvicorn")


if __name__ == "__main__":
    main(sys.argv[1:])
