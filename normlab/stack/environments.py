"""What each process of the local stack sees in its environment, and with which role it logs in to the database."""

import json
import os
import sys
from pathlib import Path

from normlab.home import Home
from normlab.stack.mlflow_server import TELEMETRY_OFF, server_environment
from normlab.stack.preloads import sockets_of_helpers
from normlab.stack.servers import Postgres, Redis
from runtime.preloaded import VARIABLE

#: Marks every process of a stack with its home, so that leftovers are found even without their parent.
MARK = "NORMLAB_STACK"
#: The roles that `python -m migrations` makes.
API_ROLE, WORKER_ROLE, MLFLOW_ROLE = "normlab_api", "normlab_worker", "normlab_mlflow"
#: MLflow's server looks tokens up with it.
ACCESS_ROLE = "normlab_access"
#: What the mirror logs in to MLflow with follows from the database's password like those of the roles.
_MIRROR = "the mirror in MLflow"
_METRICS_TOKEN = "NORMLAB_METRICS_TOKEN"  # noqa: S105 - the variable's name
_CLIENT_SECRET = "NORMLAB_OIDC_CLIENT_SECRET"  # noqa: S105
_SMTP_PASSWORD = "NORMLAB_SMTP_PASSWORD"  # noqa: S105
#: Of an object store.
STORE_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
#: They may belong to another service; a process of the stack gets only what it needs.
SECRETS = (
    "NORMLAB_TOKEN", "NORMLAB_BOOTSTRAP_TOKEN", "NORMLAB_MLFLOW_TOKEN", _METRICS_TOKEN, _CLIENT_SECRET, _SMTP_PASSWORD,
    "NORMLAB_DATABASE_URL", "NORMLAB_REDIS_URL", *STORE_SECRETS,
)  # fmt: skip


def base_environment(home: Home) -> dict[str, str]:
    """What every process of the stack sees: ours first, then what the person set, but no secrets."""
    given = {name: value for name, value in os.environ.items() if name not in SECRETS}
    return {
        "NORMLAB_DATA_ROOTS": str(home.folder / "data"),
        # The person's own settings come after the defaults and before what must be so for this stack.
        **given,
        MARK: str(home.folder),
        "NORMLAB_HOME": str(home.folder),
        "PYTHONPATH": python_path(),
        # The working folder is the home: nothing in it may pass for a module.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def service_environment(home: Home, postgres: Postgres, redis: Redis, role: str) -> dict[str, str]:
    """The environment of a service process, which logs in to the database as `role`."""
    return base_environment(home) | {
        "NORMLAB_DATABASE_URL": postgres.url("normlab", role),
        "NORMLAB_REDIS_URL": redis.url,
        "NORMLAB_MLFLOW_URL": home.mlflow_url,
        **storage_environment(home),
    }


def api_environment(home: Home, postgres: Postgres, redis: Redis) -> dict[str, str]:
    """What the API sees: what opens its metrics, and what an identity provider knows it by, are for it alone."""
    given = _given(_METRICS_TOKEN, _CLIENT_SECRET)
    environment = service_environment(home, postgres, redis, API_ROLE)
    return {"NORMLAB_PUBLIC_URL": home.api_url} | environment | forking_environment(home) | given


def storage_environment(home: Home) -> dict[str, str]:
    """The home's folder, or the object store that NORMLAB_STORAGE names; another folder is not shared with anybody."""
    given = os.environ.get("NORMLAB_STORAGE", "")
    if not given.startswith("s3://"):
        return {"NORMLAB_STORAGE": str(home.storage)}
    cache = os.environ.get("NORMLAB_CACHE") or str(home.folder / "cache")
    return {"NORMLAB_STORAGE": given, "NORMLAB_CACHE": cache, **store_secrets()}


def store_secrets() -> dict[str, str]:
    """Those that the person has set."""
    return {name: os.environ[name] for name in STORE_SECRETS if name in os.environ}


def migration_environment(home: Home, postgres: Postgres, token: str) -> dict[str, str]:
    """What `python -m migrations` sees, which makes the roles of all others."""
    return base_environment(home) | {
        "NORMLAB_DATABASE_URL": postgres.url("normlab"),
        "NORMLAB_BOOTSTRAP_TOKEN": token,
        "NORMLAB_API_DATABASE_PASSWORD": postgres.password(API_ROLE),
        "NORMLAB_WORKER_DATABASE_PASSWORD": postgres.password(WORKER_ROLE),
        "NORMLAB_MLFLOW_DATABASE_PASSWORD": postgres.password(MLFLOW_ROLE),
        "NORMLAB_ACCESS_DATABASE_PASSWORD": postgres.password(ACCESS_ROLE),
    }


def backup_environment(home: Home, postgres: Postgres) -> dict[str, str]:
    """What `python -m store backup` and `restore` see: both databases as their owner, and PostgreSQL's own programs."""
    base = base_environment(home)
    return base | {
        "NORMLAB_DATABASE_URL": postgres.url("normlab"),
        "NORMLAB_MLFLOW_DATABASE_URL": postgres.url("mlflow"),
        "NORMLAB_STORAGE": storage_environment(home)["NORMLAB_STORAGE"],
        "PATH": os.pathsep.join([str(postgres.find_programs()), base["PATH"]]),
    }


def python_path() -> str:
    """Ours first: the processes run the code that started them, installed or not."""
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(path for path in paths if path)


def preload_environment(home: Home) -> dict[str, str]:
    """What a process sees that imports for others: what libraries read then, and no secrets."""
    return base_environment(home) | one_thread() | TELEMETRY_OFF


def one_thread() -> dict[str, str]:
    """The API and the workers' parents compute nothing large; each job gets its number of threads from its spec.
    Without this every process starts a pool of one thread per core."""
    return {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}


def mlflow_environment(home: Home, postgres: Postgres) -> dict[str, str]:
    """What MLflow's server sees: its own database, and ours as one who looks tokens up."""
    return base_environment(home) | server_environment(
        postgres.url("mlflow", MLFLOW_ROLE),
        access_url=postgres.url("normlab", ACCESS_ROLE),
        mirror_token=postgres.password(_MIRROR),
    )


def sweep_environment(home: Home, postgres: Postgres, redis: Redis) -> dict[str, str]:
    """What `python -m worker.sweep` sees: a worker's, the address of links in messages, unless the person has set it, and
    the password for mail."""
    environment = service_environment(home, postgres, redis, WORKER_ROLE)
    environment |= forking_environment(home) | _given(_SMTP_PASSWORD)
    return {"NORMLAB_PUBLIC_URL": home.api_url} | environment


def _given(*names: str) -> dict[str, str]:
    """Those secrets that the person has set."""
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def mirror_environment(home: Home, postgres: Postgres, redis: Redis) -> dict[str, str]:
    """What `python -m worker.mirror` sees: a worker's, and what it alone may write to MLflow with."""
    environment = service_environment(home, postgres, redis, WORKER_ROLE)
    token = {"NORMLAB_MLFLOW_TOKEN": postgres.password(_MIRROR)}
    return environment | forking_environment(home) | token


def forking_environment(home: Home) -> dict[str, str]:
    """Of what starts helpers that compute: it has them forked."""
    return one_thread() | {VARIABLE: json.dumps(sockets_of_helpers(home))}
