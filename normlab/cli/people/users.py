"""The verbs `token create|list|revoke`, `users list|add|set|link|unlink` and `audit`."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from normlab.cli.render import Column, Format, Item, Output, ago, emit, field, raw, say
from normlab.client import Client
from normlab.errors import NormlabError

tokens = typer.Typer(no_args_is_help=True, help="Tokens: create, list, revoke.")
users = typer.Typer(help="Users: list, add, set, link, unlink.")


class Role(StrEnum):
    """The permissions of a user."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


class Children(StrEnum):
    """Which tokens are revoked along with the one they were created with."""

    OWN = "own"
    ALL = "all"
    NONE = "none"


@tokens.command()
def create(
    name: Annotated[str, typer.Argument(help="what the token is for")],
    user: Annotated[str | None, typer.Option(help="for another user (admins only)")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="days until expiry")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="it may only read, whatever its user's role")
    ] = False,
) -> None:
    """Create a token; the secret is shown only once.

    It expires no later than the token that is used to create it, and is revoked with that one.
    """
    from datetime import UTC, datetime, timedelta

    body: dict[str, object] = {"name": name}
    if user:
        body["user"] = user
    if read_only:
        body["scope"] = "read"
    if days:
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with Client() as client:
        made = client.post("tokens", body)
    # On stderr, so that `TOKEN=$(normlab token create ci)` gets the secret alone.
    typer.echo("Save it: it is not shown again. Set it as NORMLAB_TOKEN.", err=True)
    if made["expires_at"]:
        typer.echo(f"It expires at {made['expires_at']}.", err=True)
    say(made["secret"])


@tokens.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """List tokens, without their secrets."""
    with Client() as client:
        emit(client.items("tokens"), _TOKENS, output, "no tokens")


@tokens.command()
def revoke(
    number: Annotated[
        int, typer.Argument(help="id of the token (see `normlab token list`)", metavar="ID")
    ],
    children: Annotated[
        Children | None,
        typer.Option(
            help="which tokens created with it are revoked too: those of the same user (own), all or none"
        ),
    ] = None,
) -> None:
    """Revoke a token; it is rejected from now on.

    If other tokens were created with it, `--children` decides whether they are revoked too: `all` if it may have
    leaked, `none` if one of them replaces it.
    """
    with Client() as client:
        if children is None:
            _ensure_childless(client.items("tokens"), number)
        client.delete(f"tokens/{number}", **({"children": children.value} if children else {}))
    say(f"Token {number} is revoked")


def _ensure_childless(listed: Iterable[Item], number: int) -> None:
    """Raises NormlabError if other tokens were created with it, so that no user is locked out by accident."""
    children = [token for token in listed if token["parent_id"] == number]
    if children:
        names = ", ".join(f"{one['id']} ({one['name']}, {one['user']})" for one in children)
        raise NormlabError(
            f"tokens were created with token {number}: {names}; nothing was revoked. Choose with --children: "
            "`own` or `all` revokes them too (if it may have leaked), `none` keeps them"
        )


@users.callback(invoke_without_command=True)
def list_or_add(
    context: typer.Context,
    add: Annotated[
        str | None, typer.Option(help="the same as `normlab users add NAME`", hidden=True)
    ] = None,
    role: Annotated[Role, typer.Option(help="of the new user", hidden=True)] = Role.MEMBER,
    output: Output = Format.TABLE,
) -> None:
    """List the users."""
    if context.invoked_subcommand is not None:
        return
    if add:
        _add(add, role, output)
    else:
        list_users(output)


@users.command("list")
def list_users(output: Output = Format.TABLE) -> None:
    """List the users."""
    with Client() as client:
        emit(client.items("users"), _USERS, output, "no users")


@users.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="name of the user")],
    role: Annotated[
        Role, typer.Option(help="viewers read, members submit, admins manage")
    ] = Role.MEMBER,
    output: Output = Format.TABLE,
) -> None:
    """Add a user (admins only); create their token with `normlab token create`."""
    _add(name, role, output)


@users.command("set")
def set_user(
    name: Annotated[str, typer.Argument(help="name of the user")],
    role: Annotated[
        Role | None, typer.Option(help="viewers read, members submit, admins manage")
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(help="twice the weight is twice the share of the devices; new users have 1"),
    ] = None,
    disabled: Annotated[
        bool | None,
        typer.Option("--disable/--enable", help="reject or accept the user's tokens"),
    ] = None,
) -> None:
    """Change a user's role, weight or access (admins only)."""
    changes = {"role": role and role.value, "weight": weight, "disabled": disabled}
    body = {key: value for key, value in changes.items() if value is not None}
    if not body:
        raise NormlabError("nothing to change: give --role, --weight, --disable or --enable")
    with Client() as client:
        made = client.patch(f"users/{quote(name, safe='')}", body)
    state = ", disabled" if made["disabled_at"] else ""
    say(f"{made['name']}: role {made['role']}, weight {made['weight']:g}{state}")
    for project in made["unmanaged_projects"]:
        invite = f"normlab project invite {project} NAME --role admin"
        typer.echo(
            f"Private project {project} has no active admin; add one with: {invite}", err=True
        )


@users.command()
def link(
    name: Annotated[str, typer.Argument(help="name of the user")],
    subject: Annotated[
        str, typer.Option(help="the person's subject at the identity provider (the claim `sub`)")
    ],
) -> None:
    """Link a login at the identity provider to this user's account (admins only).

    A person who logs in without an account is shown their subject.
    """
    with Client() as client:
        made = client.patch(f"users/{quote(name, safe='')}", {"login": subject})
    say(f"A login as {subject} opens the account {made['name']}")


@users.command()
def unlink(name: Annotated[str, typer.Argument(help="name of the user")]) -> None:
    """Unlink this user's account from the identity provider (admins only).

    Browsers that logged in this way are logged out, and tokens created in them are revoked; other tokens stay valid.

    A login with the user's name doesn't open the account again: use `normlab users link` to link the right one.
    """
    with Client() as client:
        made = client.patch(f"users/{quote(name, safe='')}", {"login": None})
    say(f"No login opens the account {made['name']}; tokens created with a login are revoked")


def _add(name: str, role: Role, output: Format) -> None:
    with Client() as client:
        made = client.post("users", {"name": name, "role": role.value})
    match output:
        case Format.JSON:
            say(json.dumps(made, indent=2))
        case Format.CSV:
            emit([made], _USERS, output, "")
        case Format.TABLE:
            token = f"normlab token create NAME --user {made['name']}"
            say(f"{made['name']} is a {made['role']}; create a token for them with: {token}")


def audit(
    user: Annotated[str | None, typer.Option(help="changes made by this person")] = None,
    action: Annotated[str | None, typer.Option(help="such as token.created")] = None,
    limit: Annotated[int, typer.Option(min=1, help="maximum number")] = 50,
    output: Output = Format.TABLE,
) -> None:
    """List who changed what, latest first (admins only).

    Changes of a job's status are in its own history: `normlab show j1`.
    """
    with Client() as client:
        items = client.items("audit", most=limit, user=user, action=action)
    emit(items, _AUDIT, output, "nothing was changed")


def _values(row: Item) -> str:
    return ", ".join(
        f"{name}: {value}" for name, value in row["detail"].items() if value is not None
    )


_AUDIT = (
    Column("when", field("at")),
    Column("who", field("user")),
    Column("token", field("token")),
    Column("what", field("action")),
    Column("of", field("subject")),
    Column("values", _values, lambda row: json.dumps(row["detail"])),
)
_TOKENS = (
    Column("id", field("id"), raw("id"), right=True),
    Column("name", field("name")),
    Column("user", field("user")),
    Column("scope", field("scope")),
    Column("age", ago("created_at"), raw("created_at"), right=True),
    Column("last used", ago("last_used_at"), raw("last_used_at"), right=True),
    Column("expires", field("expires_at")),
    Column("created with", field("parent_id"), raw("parent_id"), right=True),
    Column("revoked", field("revoked_at")),
)
_USERS = (
    Column("name", field("name")),
    Column("role", field("role")),
    Column("weight", lambda user: f"{user['weight']:g}", raw("weight"), right=True),
    Column("age", ago("created_at"), raw("created_at"), right=True),
    Column("disabled", field("disabled_at")),
)
