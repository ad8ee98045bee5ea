"""The verbs `usage`, `limits [set]` and `gc`: what people use of devices and disks, and may use at most."""

import json
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

import typer

from normlab.cli.people.users import Role
from normlab.cli.render import Column, Format, Item, Output, duration, emit, field, raw, say, size
from normlab.client import Client
from normlab.errors import NormlabError

limits = typer.Typer(help="Limits of roles and users: list, set.")


@limits.callback(invoke_without_command=True)
def list_limits(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List what each role and each person may have of the devices at most."""
    if context.invoked_subcommand is None:
        with Client() as client:
            emit(client.items("limits"), _LIMITS, output, "no limits")


@limits.command("set")
def set_limits(
    role: Annotated[Role | None, typer.Option(help="the limits of a role")] = None,
    user: Annotated[str | None, typer.Option(help="the limits of a user")] = None,
    running: Annotated[str | None, typer.Option(help="jobs running at once; more wait")] = None,
    queued: Annotated[str | None, typer.Option(help="waiting jobs; more are refused")] = None,
    device_time: Annotated[
        str | None, typer.Option(help="device time per day (UTC), like 8h; jobs beyond it wait")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="longest training time of a job, like 2h")
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(help="checkpoints and files, like 20GB; with more, jobs are refused"),
    ] = None,
    priority: Annotated[
        str | None, typer.Option(help="highest priority that may be asked for: low to urgent")
    ] = None,
) -> None:
    """Set or remove (`none`) limits of a role or a user (admins only); those of a user take precedence over those of the role."""
    if (role is None) == (user is None):
        raise NormlabError("give either --role or --user")
    given = {
        "running": running,
        "queued": queued,
        "device_seconds_per_day": device_time,
        "timeout_seconds": timeout,
        "disk_bytes": disk,
        "priority": priority,
    }
    body = {name: _limit(value) for name, value in given.items() if value is not None}
    path = f"limits/roles/{role.value}" if role else f"limits/users/{quote(user or '', safe='')}"
    with Client() as client:
        emit([client.patch(path, body)], _LIMITS, Format.TABLE, "")


def _limit(value: str) -> str | int | None:
    return None if value == "none" else int(value) if value.isdecimal() else value


def usage(
    output: Output = Format.TABLE,
    disk: Annotated[
        bool, typer.Option("--disk", help="show the disk use of each person instead")
    ] = False,
) -> None:
    """Show each person's use of the devices, and whose jobs start next.

    Of two jobs of the same priority, the job of the person with less use starts first. Use is device time divided by the
    person's weight, and decays with a half-life.
    """
    if disk:
        _show_disk(output)
        return
    with Client() as client:
        found = client.get("usage")
    if output is Format.JSON:
        say(json.dumps(found, indent=2))
        return
    emit(found["items"], _USAGE, output, "nobody has used the devices lately")
    if output is Format.TABLE and found["items"]:
        say()
        for one in sorted(found["items"], key=lambda one: (one["turn"] is None, one["turn"])):
            say(f"{one['user']}: {one['why']}")
        say(f"Past use decays with a half-life of {duration(found['half_life_seconds'])}.")


def _show_disk(output: Format) -> None:
    with Client() as client:
        found = client.get("disk")
    if output is Format.JSON:
        say(json.dumps(found, indent=2))
        return
    emit(found["items"], _DISK, output, "nobody has files in the storage")
    if output is Format.TABLE and (removable := found["removable"])["checkpoints"]:
        say(f"{_describe(removable)} could be removed: normlab gc --dry-run")


def gc(
    older_than: Annotated[
        str | None,
        typer.Option(
            help="of jobs that ended at least this long ago, like 12h, 7d; default: what the sweep is about to remove"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only show what would be removed")
    ] = False,
) -> None:
    """Remove the checkpoints for resuming jobs that have ended (admins only); the best one of each job is kept.

    A failed or cancelled job without its last checkpoint starts from the beginning when it is retried.
    """
    with Client() as client:
        removed = client.post("gc", {"older_than": older_than, "dry_run": dry_run})
    say(f"{_describe(removed)} {'would be' if dry_run else 'were'} removed")


def _describe(removed: Item) -> str:
    return f"{removed['checkpoints']} checkpoints ({size(removed['bytes'])})"


def _span(name: str) -> Callable[[Item], str]:
    return lambda item: "" if item[name] is None else duration(item[name])


def _size(name: str) -> Callable[[Item], str]:
    return lambda item: "" if item[name] is None else size(item[name])


_LIMITS = (
    Column("of", lambda one: f"every {one['role']}" if one["role"] else one["user"]),
    Column("running", field("running"), raw("running"), right=True),
    Column("waiting", field("queued"), raw("queued"), right=True),
    Column(
        "device time a day",
        _span("device_seconds_per_day"),
        raw("device_seconds_per_day"),
        right=True,
    ),
    Column("longest job", _span("timeout_seconds"), raw("timeout_seconds"), right=True),
    Column("disk", _size("disk_bytes"), raw("disk_bytes"), right=True),
    Column("highest priority", field("priority")),
)
_DISK = (
    Column("user", field("user")),
    Column("checkpoints", _size("checkpoint_bytes"), raw("checkpoint_bytes"), right=True),
    Column("files", _size("file_bytes"), raw("file_bytes"), right=True),
    Column("limit", _size("limit_bytes"), raw("limit_bytes"), right=True),
)
_USAGE = (
    Column("user", field("user")),
    Column("share", lambda one: f"{one['share']:.0%}", raw("share"), right=True),
    Column("device time", lambda one: duration(one["seconds"]), raw("seconds"), right=True),
    Column(
        "of running jobs",
        lambda one: duration(one["running_seconds"]),
        raw("running_seconds"),
        right=True,
    ),
    Column("weight", lambda one: f"{one['weight']:g}", raw("weight"), right=True),
    Column(
        "by weight",
        lambda one: duration(one["weighted_seconds"]),
        raw("weighted_seconds"),
        right=True,
    ),
    Column("turn", field("turn"), raw("turn"), right=True),
    Column("running", field("running"), raw("running"), right=True),
    Column("waiting", field("queued"), raw("queued"), right=True),
    Column("since", lambda one: (one["since"] or "")[:10], raw("since")),
)
