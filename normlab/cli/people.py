"""`token create|list|revoke` and `users`: who may do what."""

import json
from typing import Annotated

import typer

from normlab.cli.output import Column, Format, Output, ago, emit, field, raw, say
from normlab.client import Client

tokens = typer.Typer(no_args_is_help=True, help="Tokens: create, list, revoke.")


@tokens.command()
def create(
    name: Annotated[str, typer.Argument(help="what it is for")],
    user: Annotated[str | None, typer.Option(help="for somebody else (admins)")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="expires after so many days")] = None,
) -> None:
    """Make a token. It is shown once; only its hash is kept."""
    from datetime import UTC, datetime, timedelta

    body: dict[str, object] = {"name": name}
    if user:
        body["user"] = user
    if days:
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with Client() as client:
        made = client.post("tokens", body)
    typer.echo("Keep it: it is not shown again. Use it as NORMLAB_TOKEN.", err=True)
    say(made["secret"])


@tokens.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """List tokens, without their secrets."""
    with Client() as client:
        emit(client.items("tokens"), _TOKENS, output, "no tokens")


@tokens.command()
def revoke(number: Annotated[int, typer.Argument(help="its id, as listed", metavar="ID")]) -> None:
    """Revoke a token: it is refused from now on."""
    with Client() as client:
        client.delete(f"tokens/{number}")
    say(f"Token {number} is revoked")


def users(
    add: Annotated[str | None, typer.Option(help="make a user of this name (admins)")] = None,
    role: Annotated[str, typer.Option(help="of the new user: admin, member, viewer")] = "member",
    output: Output = Format.TABLE,
) -> None:
    """List the users, or add one."""
    with Client() as client:
        if add:
            made = client.post("users", {"name": add, "role": role})
            if output is Format.JSON:
                say(json.dumps(made, indent=2))
            else:
                say(
                    f"{made['name']} is a {made['role']}; a token: normlab token create NAME --user {add}"
                )
        else:
            emit(client.items("users"), _USERS, output, "no users")


_TOKENS = (
    Column("id", field("id"), raw("id"), right=True),
    Column("name", field("name")),
    Column("user", field("user")),
    Column("age", ago("created_at"), raw("created_at"), right=True),
    Column("last used", ago("last_used_at"), raw("last_used_at"), right=True),
    Column("expires", field("expires_at")),
    Column("revoked", field("revoked_at")),
)
_USERS = (
    Column("name", field("name")),
    Column("role", field("role")),
    Column("age", ago("created_at"), raw("created_at"), right=True),
    Column("disabled", field("disabled_at")),
)
