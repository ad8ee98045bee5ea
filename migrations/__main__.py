"""`python -m migrations [upgrade|downgrade] [revision]` on the database of NORMLAB_DATABASE_URL.

After an upgrade to the present it also bootstraps: see `store.bootstrap`; the admin's token is
NORMLAB_BOOTSTRAP_TOKEN. And it sets up the roles of the API and of the workers: see
`migrations.rights`; they log in with NORMLAB_API_DATABASE_PASSWORD and NORMLAB_WORKER_DATABASE_PASSWORD.

`python -m migrations mlflow` makes MLflow's role and database, with NORMLAB_MLFLOW_DATABASE_PASSWORD.
"""

import os
import sys

from psycopg.errors import InsufficientPrivilege

from migrations.roles import MLFLOW, PASSWORDS, may_not


def main(arguments: list[str]) -> None:
    url = os.environ.get("NORMLAB_DATABASE_URL")
    if not url:
        sys.exit("NORMLAB_DATABASE_URL is not set")
    match arguments:
        case [] | ["upgrade"]:
            _upgrade(url)
        case ["upgrade", revision]:
            from migrations.run import upgrade

            upgrade(url, revision)
        case ["downgrade", revision]:
            from migrations.run import downgrade

            downgrade(url, revision)
        case ["mlflow"]:
            _prepare_mlflow(url)
        case _:
            sys.exit("usage: python -m migrations [upgrade|downgrade|mlflow] [revision]")


def _upgrade(url: str) -> None:
    from migrations.rights import apply_rights
    from migrations.run import upgrade
    from store.bootstrap import bootstrap

    upgrade(url)
    bootstrap(url, os.environ.get("NORMLAB_BOOTSTRAP_TOKEN"))
    for problem in apply_rights(url, _passwords()):
        sys.stderr.write(f"API and workers can log in as the tables' owner: {problem}\n")


def _prepare_mlflow(url: str) -> None:
    # Without SQLAlchemy and Alembic: MLflow, the slowest to start, waits for this.
    from migrations.mlflow_database import prepare_mlflow

    password = _passwords().get(MLFLOW)
    if not password:
        sys.exit(f"{PASSWORDS[MLFLOW]} is not set")
    try:
        prepare_mlflow(url, password)
    except InsufficientPrivilege as error:
        sys.exit(may_not(error, MLFLOW))


def _passwords() -> dict[str, str]:
    given = {role: os.environ.get(variable) for role, variable in PASSWORDS.items()}
    return {role: password for role, password in given.items() if password}


if __name__ == "__main__":
    main(sys.argv[1:])
