"""The verbs `devices [reserve|release]`, `workers [drain|release]` and `worker`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from normlab.cli.render import Column, Format, Item, Output, emit, field, say, size
from normlab.client import Client
from normlab.errors import NormlabError, StackError
from normlab.home import Home
from normlab.stack import joining

devices = typer.Typer(help="Devices: list, reserve, release.")
workers = typer.Typer(help="Workers: list, drain, release.")

Host = Annotated[str, typer.Argument(metavar="HOST")]
Device = Annotated[str, typer.Argument(help="like cuda:0", metavar="DEVICE")]
Lasts = Annotated[str, typer.Option("--for", help="how long: 90s, 30m, 2h, 1d")]
Why = Annotated[str, typer.Option(help="the reason, shown to other users")]


@devices.callback(invoke_without_command=True)
def list_devices(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the devices, what runs on them, and by whom they are reserved."""
    if context.invoked_subcommand is None:
        with Client() as client:
            emit(client.items("devices"), _DEVICES, output, "no devices: no worker has run yet")


@devices.command("reserve")
def reserve(
    host: Host,
    device: Device,
    lasts: Lasts,
    why: Why = "no reason given",
) -> None:
    """Keep a device free of new jobs for a time; running jobs go on."""
    kind, number = _parse_device(device)
    _reserve({"host": host, "kind": kind, "number": number, "lasts": lasts, "why": why})


@devices.command("release")
def release(
    host: Host,
    device: Device,
) -> None:
    """End a reservation of a device."""
    _release(host, *_parse_device(device))


@workers.callback(invoke_without_command=True)
def list_workers(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the workers, and what keeps them from taking jobs."""
    if context.invoked_subcommand is None:
        with Client() as client:
            emit(client.items("workers"), _WORKERS, output, "no worker has run yet")


@workers.command("drain")
def drain(
    host: Host,
    lasts: Lasts,
    why: Why = "no reason given",
) -> None:
    """Start no more jobs on a host for a time (admins only); running jobs go on."""
    _reserve({"host": host, "lasts": lasts, "why": why})


@workers.command("release")
def undrain(host: Host) -> None:
    """Let a drained host take jobs again."""
    _release(host, None, None)


def worker(
    join: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="the file written by `--print-join`; `-`: standard input"
        ),
    ] = None,
    print_join: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="write the settings, including passwords, that a worker of this machine's stack needs; `-`: standard output",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="host name, unique among workers; default: the machine's"),
    ] = None,
    sockets: Annotated[
        Path | None,
        typer.Option(
            help="with --join: the folder where the service's sockets are on this machine"
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="with --join: where the service's storage is mounted on this machine"),
    ] = None,
) -> None:
    """Run a worker for a service on another machine (--join), or write the file that such a worker needs (--print-join).

    On the machine of the service: `normlab worker --print-join join.env`. Copy the file, which holds passwords, to the
    other machine. The local stack listens on sockets, not on ports, so forward them into an empty folder there:

    ssh -N -L $PWD/.s.PGSQL.5432:SOCKETS/.s.PGSQL.5432 -L $PWD/redis.sock:SOCKETS/redis.sock SERVICE

    with SOCKETS as in the file, and then `normlab worker --join join.env --sockets .`. Both machines need the same
    storage: a folder that both mount (--storage if its path differs), or an object store. It runs until
    Ctrl-C, which saves its jobs. NORMLAB_CPU_SLOTS and the other settings of workers are in the README.
    """
    if (join is None) == (print_join is None):
        raise StackError("name either --join FILE or --print-join FILE; `normlab worker --help`")
    home = Home.from_environment()
    if print_join is not None:
        joining.write_join_file(home, _file(print_join))
        return
    assert join is not None
    settings = joining.with_sockets(joining.read_join_file(_file(join)), sockets)
    given = {"NORMLAB_HOST_NAME": name, "NORMLAB_STORAGE": storage}
    settings |= {variable: value for variable, value in given.items() if value is not None}
    joining.run_worker(settings, home)


def _file(name: str) -> Path | None:
    return None if name == "-" else Path(name)


def _reserve(body: dict[str, Any]) -> None:
    with Client() as client:
        made = client.post("reservations", body)
    say(f"{_name(made)} is reserved until {_until(made)}; running jobs continue")


def _parse_device(text: str) -> tuple[str, int]:
    kind, _, number = text.partition(":")
    if not number.isdecimal():
        raise NormlabError(f"a device is a kind and a number, like cuda:0, but got {text!r}")
    return kind, int(number)


def _release(host: str, kind: str | None, number: int | None) -> None:
    with Client() as client:
        for one in client.items("reservations"):
            if (one["host"], one["kind"], one["number"]) == (host, kind, number):
                client.delete(f"reservations/{one['id']}")
                say(f"{_name(one)} takes jobs again")
                return
    what = host if kind is None else f"{host} {kind}:{number}"
    raise NormlabError(f"{what} is not reserved")


def _name(one: Item) -> str:
    return (
        str(one["host"]) if one["kind"] is None else f"{one['host']} {one['kind']}:{one['number']}"
    )


def _until(one: Item) -> str:
    return f"{datetime.fromisoformat(one['ends_at']).astimezone():%Y-%m-%d %H:%M %Z}"


def _busy(one: Item) -> str:
    return f"{len(one['held'])} of {one['slots']}"


def _jobs(one: Item) -> str:
    # None: a job of a private project of others.
    ids = (held["job_id"] for held in one["held"])
    return ", ".join(dict.fromkeys("private" if one is None else f"j{one}" for one in ids))


def _memory(one: Item) -> str:
    if (memory := one.get("memory")) is None:
        return ""
    free, total, booked, foreign = (
        size(memory[f"{name}_bytes"]) for name in ("free", "total", "booked", "foreign")
    )
    return f"{free} of {total} free, {booked} booked, {foreign} used by others"


def _gpu_memory(one: Item) -> str:
    return "; ".join(f"cuda:{gpu['number']} {_memory(gpu)}" for gpu in one["gpus"])


_DEVICES = [
    Column("device", _name, _name),
    Column("name", field("name")),
    Column("slots in use", _busy, _busy, right=True),
    Column("memory", _memory, _memory),
    Column("jobs", _jobs, _jobs),
    Column("reserved", field("reserved")),
]
_WORKERS = [
    Column("host", field("host")),
    Column(
        "takes jobs", lambda one: "yes" if one["claims"] else "no", lambda one: str(one["claims"])
    ),
    Column("slots", field("slots"), right=True),
    Column("in use", field("busy"), right=True),
    Column("GPU memory", _gpu_memory, _gpu_memory),
    Column(
        "problems", lambda one: "; ".join(one["problems"]), lambda one: "; ".join(one["problems"])
    ),
]
