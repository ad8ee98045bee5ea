"""A worker of a service on another machine, or of another home: what it is given, and its start.

What it is given holds passwords: it goes through a file that nobody else may read, or a pipe, and never through a
command line.
"""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from normlab.errors import StackError
from normlab.home import Home
from normlab.stack.environments import (
    SECRETS,
    WORKER_ROLE,
    base_environment,
    one_thread,
    python_path,
    storage_environment,
    store_secrets,
)
from normlab.stack.servers import make_servers

_REQUIRED = ("NORMLAB_DATABASE_URL", "NORMLAB_REDIS_URL", "NORMLAB_STORAGE")
#: What an object store needs besides, where the person who writes the file has it.
_OF_STORES = (
    "NORMLAB_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION",
)  # fmt: skip
#: In the address of a server that listens on a socket: the socket's folder.
_SOCKETS = re.compile(r"(?<=[?&]host=)/[^&]+|(?<=^redis\+socket://)/.*(?=/redis\.sock$)")
_PYTHON: Sequence[str] = (sys.executable, "-m")
_POSTGRES_SOCKET, _REDIS_SOCKET = ".s.PGSQL.5432", "redis.sock"


def write_join_file(home: Home, path: Path | None) -> None:
    """Everything that a worker needs to work for this home's service; without a path to standard output.

    Raises StackError.
    """
    if not home.is_locked():
        raise StackError(
            f"no stack is running in {home.folder}: start it with `normlab up --detach`"
        )
    text = "".join(f"{name}={value}\n" for name, value in _describe(home).items())
    if path is None:
        sys.stdout.write(text)
        return
    try:
        path.unlink(missing_ok=True)
        # Made with its mode: closed to others afterwards, it could be read in between.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        raise StackError(f"{path} can't be written: {error.strerror}") from error


def read_join_file(path: Path | None) -> dict[str, str]:
    """The variables in it; without a path from standard input. Raises StackError for what is no such file, or is open
    to others."""
    where = "standard input" if path is None else str(path)
    try:
        if path is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StackError(f"others may read {path}, which holds passwords: chmod 600 {path}")
        text = sys.stdin.read() if path is None else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{where} can't be read: {error}") from error
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    if unknown := [name for name in settings if not name.startswith(("NORMLAB_", "AWS_"))]:
        raise StackError(f"{where} is not what `normlab worker --print-join` writes: {unknown[0]}")
    if missing := [name for name in _REQUIRED if not settings.get(name)]:
        raise StackError(
            f"{where} lacks {', '.join(missing)}: write it again with `normlab worker --print-join FILE` on the machine of "
            "the service"
        )
    return settings


def with_sockets(settings: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """With the servers' sockets in this folder instead. Raises StackError where there are none."""
    urls = {name: settings[name] for name in ("NORMLAB_DATABASE_URL", "NORMLAB_REDIS_URL")}
    if folder is not None:
        urls = {
            name: _SOCKETS.sub(lambda _: str(folder.absolute()), url) for name, url in urls.items()
        }
    for (name, url), socket in zip(urls.items(), (_POSTGRES_SOCKET, _REDIS_SOCKET), strict=True):
        found = _SOCKETS.search(url)
        if found is not None and not (place := Path(found[0]) / socket).exists():
            raise StackError(
                f"nothing listens at {place} ({name}). If the service is on this machine, check that it is up. If it is on another, "
                f"forward its sockets: ssh -N -L SOCKETS/{_POSTGRES_SOCKET}:{_first(settings)}/{_POSTGRES_SOCKET} "
                f"-L SOCKETS/{_REDIS_SOCKET}:{_first(settings)}/{_REDIS_SOCKET} THAT_MACHINE, and name the folder: "
                "--sockets SOCKETS"
            )
    return {**settings, **urls}


def run_worker(settings: Mapping[str, str], home: Home) -> NoReturn:
    """In the place of this process, once it is known that it could start."""
    kept = {name: value for name, value in os.environ.items() if name not in SECRETS}
    environment = {
        "NORMLAB_CACHE": str(home.folder / "cache"),
        **kept,
        **store_secrets(),
        **one_thread(),
        **settings,
        "PYTHONPATH": python_path(),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    checked = subprocess.run([*_PYTHON, "worker.preflight"], check=False, env=environment)
    if checked.returncode != 0:
        sys.exit(checked.returncode)
    os.execve(sys.executable, [*_PYTHON, "worker"], environment)  # noqa: S606


def _describe(home: Home) -> dict[str, str]:
    postgres, redis = make_servers(home, lambda: None)
    storage = storage_environment(home)["NORMLAB_STORAGE"]
    settings = {
        "NORMLAB_DATABASE_URL": postgres.url("normlab", WORKER_ROLE),
        "NORMLAB_REDIS_URL": redis.url,
        "NORMLAB_STORAGE": storage,
        # A dataset is decoded by whichever worker is free.
        "NORMLAB_DATA_ROOTS": base_environment(home)["NORMLAB_DATA_ROOTS"],
    }
    if storage != str(home.storage):
        settings |= {name: os.environ[name] for name in _OF_STORES if os.environ.get(name)}
    return settings


def _first(settings: Mapping[str, str]) -> str:
    """The folder of the sockets on the machine of the service."""
    found = _SOCKETS.search(settings["NORMLAB_DATABASE_URL"])
    return found[0] if found else ""
