"""The verbs of the local stack: `up`, `down`, `status`, `backup`, `restore`, `mirror [verify|rebuild]`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from normlab.cli.render import (
    SHOWN,
    Column,
    Format,
    Output,
    StackProgress,
    duration,
    emit,
    field,
    raw,
    say,
    say_mirror,
    say_workers,
    size,
)
from normlab.errors import NormlabError, StackError
from normlab.home import Home
from normlab.stack import control

#: A service that takes longer must not keep `status` waiting.
_ASK_SECONDS = 5.0

Timeout = Annotated[
    float | None,
    typer.Option(
        help="maximum time to wait, in seconds; default: as long as every process makes progress"
    ),
]


mirror = typer.Typer(help="MLflow's copy of the results: verify, rebuild.", no_args_is_help=True)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="run in the background; return once it is ready")
    ] = False,
    timeout: Timeout = None,
    adopt_storage: Annotated[
        bool,
        typer.Option(
            "--adopt-storage",
            help="accept $NORMLAB_HOME/storage (or the object store of NORMLAB_STORAGE) as the database's storage even if it was emptied or replaced",
        ),
    ] = False,
) -> None:
    """Start the whole stack on this machine: database, broker, MLflow, API, worker.

    Its files are in NORMLAB_HOME (~/.normlab; for root /var/lib/normlab), its ports are
    NORMLAB_API_PORT (8000) and NORMLAB_MLFLOW_PORT (5000). Several stacks can run side by side.
    PostgreSQL and Redis come with Normlab; NORMLAB_POSTGRES_BIN (a folder) and
    NORMLAB_REDIS_SERVER (a program) name others. With --timeout, `up --detach` stops waiting after
    that time, and the stack continues to start.
    """
    home = Home.from_environment()
    if adopt_storage and home.is_locked():
        raise StackError(
            "cannot adopt a storage while the stack is running: run `normlab down` first"
        )
    # The lock says that a supervisor is alive, the file what it last wrote: only both together mean a stack that
    # runs.
    if home.is_locked() and home.read_state().get("phase") == "ready":
        say("Normlab is already running:")
        show_urls(home, home.read_state())
    elif detach or home.is_locked():
        bring_up(home, timeout, adopt_storage=adopt_storage)
        say("Stop it with: normlab down")
    else:
        say(f"Starting Normlab in {home.folder}; stop it with Ctrl-C")
        progress = StackProgress(
            home, timeout=timeout, then="It was stopped.", when_ready=_show_ready
        )
        control.run_in_foreground(home, progress, adopt_storage=adopt_storage)
        say("Stopped")


def bring_up(home: Home, timeout: float | None = None, *, adopt_storage: bool = False) -> None:
    """Starts it in the background, or joins one that is starting."""
    for variable in ("NORMLAB_DATABASE_URL", "NORMLAB_REDIS_URL"):
        if os.environ.get(variable):
            typer.echo(f"{variable} is ignored: the local stack starts its own server", err=True)
    say(f"Starting Normlab in {home.folder}")
    then = (
        "The stack continues to start: `normlab status` shows its progress, `normlab up --detach` "
        "waits again, `normlab down` stops it."
    )
    progress = StackProgress(home, timeout=timeout, then=then)
    state = control.start_detached(home, progress, adopt_storage=adopt_storage)
    _show_ready(state)


def _show_ready(state: Mapping[str, Any]) -> None:
    say(f"Ready after {state['seconds']:.0f} s:")
    show_urls(Home.from_environment(), state)


def down() -> None:
    """Stop the local stack; running jobs are saved and resume at the next `up`."""
    home = Home.from_environment()
    was_running = home.is_locked()
    if was_running:
        say(f"Stopping Normlab in {home.folder}")
    left = control.stop(home, StackProgress(home))
    if was_running:
        say("Stopped")
    elif left:
        say(f"Ended {left} processes that a killed stack had left behind")
    else:
        say(f"Nothing is running in {home.folder}")


def status(
    database: Annotated[
        bool,
        typer.Option("--database", help="print the URL of its PostgreSQL, including the password"),
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the processes and URLs of the local stack, hosts that cannot work, and what is missing in MLflow."""
    home = Home.from_environment()
    state = control.status(home)
    if database and state["phase"] != "down":
        say(control.database_url(home))
        return
    is_ready = state["phase"] == "ready"
    mirror = ask_api(home, "mirror", limit=SHOWN) if is_ready else None
    answer = ask_api(home, "workers") if is_ready else None
    workers = answer and answer["items"]
    if output is Format.JSON:
        say(json.dumps({**state, "workers": workers, "mirror": mirror}, indent=2))
        return
    if state["phase"] == "down":
        left = state["leftovers"]
        found = f"A killed stack has left {left} processes" if left else "Nothing is running"
        typer.echo(f"{found} in {home.folder}; start it with: normlab up --detach", err=True)
        if url := os.environ.get("NORMLAB_URL"):
            typer.echo(f"The other commands use the service at NORMLAB_URL={url}", err=True)
        raise typer.Exit(1)
    emit(state["processes"], _COLUMNS, output, "no process yet")
    if output is Format.TABLE:
        say()
        say(f"{state['phase']}, home {home.folder}, logs {home.logs}")
        show_urls(home, state)
        say_workers(workers)
        say_mirror(mirror)


def backup(
    folder: Annotated[
        Path,
        typer.Argument(
            help="a new or empty folder, or one with an earlier backup", metavar="FOLDER"
        ),
    ],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="compare existing files in FOLDER by size instead of reading them"
        ),
    ] = False,
) -> None:
    """Back up the local stack, running or not: its databases and its files.

    Files that FOLDER already contains are not copied again unless they are damaged there. FOLDER holds only the latest
    backup; use several folders for several backups. It contains everyone's results and the first admin's token: keep it
    private.
    """
    home = Home.from_environment()
    say(f"Backing up {home.folder} to {folder}")
    if status := control.back_up(home, folder, quick=quick):
        raise typer.Exit(status)
    say(f"Done; restore it with: NORMLAB_HOME=... normlab restore {folder}")


def restore(
    folder: Annotated[
        Path, typer.Argument(help="folder written by `normlab backup`", metavar="FOLDER")
    ],
) -> None:
    """Restore a backup into NORMLAB_HOME, which must be empty or missing; each file's digest is verified."""
    home = Home.from_environment()
    say(f"Restoring {folder} into {home.folder}")
    if status := control.restore(home, folder):
        raise typer.Exit(status)
    say(
        "Done; start it with: normlab up --detach, then compare MLflow with it: normlab mirror verify"
    )


@mirror.command("verify")
def verify_mirror(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="delete runs that differ, and have the mirror send them again as new runs",
        ),
    ] = False,
) -> None:
    """Compare MLflow with the database: parameters, metrics, tags and status of everything that has ended.

    It lists runs that differ and runs that belong to no job or study. The exit status is 1 if there are any and they
    are not repaired. In compose: `docker compose run --rm mirror python -m worker.mirror --verify`.
    """
    _run_mirror("--repair" if repair else "--verify")


@mirror.command("rebuild")
def rebuild_mirror() -> None:
    """Delete all runs that the mirror has made in MLflow, and have it send everything again as new runs.

    In compose: `docker compose run --rm mirror python -m worker.mirror --rebuild`.
    """
    _run_mirror("--rebuild")
    say("The mirror sends everything again; `normlab status` shows what MLflow lacks")


def _run_mirror(option: str) -> None:
    if status := control.run_mirror(Home.from_environment(), option):
        raise typer.Exit(status)


def ask_api(home: Home, path: str, **parameters: Any) -> Any:
    """What the local stack's own API answers; None if it doesn't, or takes long."""
    from normlab.client import Transport

    # Of this home whatever NORMLAB_URL names: `status` is about the local stack.
    transport = Transport(home=home, timeout=_ASK_SECONDS)
    try:
        return transport.get(path, **parameters)
    except NormlabError:
        return None
    finally:
        transport.close()


def show_urls(home: Home, state: Mapping[str, Any]) -> None:
    say(f"  Page    {state['api_url']}  (log in with the token in {home.token_file})")
    say(f"  API     {state['api_url']}/docs")
    say(
        f"  MLflow  {state['mlflow_url']}  (log in to the page first, or with your user name and a token)"
    )


_COLUMNS = (
    Column("process", field("name")),
    Column("state", field("state")),
    Column("pid", field("pid"), right=True),
    Column(
        "uptime", lambda row: duration(row["uptime_seconds"]), raw("uptime_seconds"), right=True
    ),
    Column("restarts", field("restarts"), right=True),
    Column("processes", field("processes"), right=True),
    Column("memory", lambda row: size(row.get("memory_bytes", 0)), raw("memory_bytes"), right=True),
)
