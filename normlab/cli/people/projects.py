"""The verbs `project list|show|create|private|open|invite|remove`."""

from typing import Annotated
from urllib.parse import quote

import typer

from normlab.cli.people.users import Role
from normlab.cli.render import Column, Format, Output, ago, emit, field, raw, say
from normlab.client import Client

projects = typer.Typer(
    no_args_is_help=True,
    help="""Projects: list, show, create, private, open, invite, remove.

Everyone can read an open project, and members of the service can submit to it. A private project is visible only to the
people listed in it: viewers read, members also submit and change their own jobs, admins change everyone's and invite. The
creator of a project is its admin.""",
)

_Project = Annotated[str, typer.Argument(help="name of the project", metavar="PROJECT")]
_User = Annotated[str, typer.Argument(help="name of the user", metavar="USER")]


@projects.command("list")
def list_projects(output: Output = Format.TABLE) -> None:
    """List the projects that you may read."""
    with Client() as client:
        emit(client.items("projects"), _PROJECTS, output, "no projects")


@projects.command()
def show(name: _Project, output: Output = Format.TABLE) -> None:
    """Show who is listed in a project."""
    with Client() as client:
        found = client.get(_path(name))
    if output is Format.TABLE:
        say(f"{found['name']} is {found['visibility']}, created by {found['owner']}")
    emit(found["members"], _MEMBERS, output, "nobody is listed")


@projects.command()
def create(
    name: _Project,
    private: Annotated[
        bool, typer.Option("--private", help="only the people listed in it can read it")
    ] = False,
) -> None:
    """Create a project, of which you are the admin.

    An open project is also created when something is first submitted to it.
    """
    with Client() as client:
        made = client.post(
            "projects", {"name": name, "visibility": "private" if private else "open"}
        )
    say(_describe(made["name"], made["visibility"]))


@projects.command()
def private(name: _Project) -> None:
    """Make a project private: only the people listed in it can read it.

    Everyone who has jobs in it is listed as a member.
    """
    _change(name, "private")


@projects.command("open")
def open_(name: _Project) -> None:
    """Make a project open: everyone can read it, and members of the service can submit to it."""
    _change(name, "open")


@projects.command()
def invite(
    name: _Project,
    user: _User,
    role: Annotated[
        Role, typer.Option(help="viewers read, members submit, admins manage")
    ] = Role.MEMBER,
) -> None:
    """List a user in a project, or change their role in it (its admins only)."""
    with Client() as client:
        client.put(f"{_path(name)}/members/{quote(user, safe='')}", {"role": role.value})
    say(f"{user} is {'an' if role is Role.ADMIN else 'a'} {role.value} of project {name}")


@projects.command()
def remove(name: _Project, user: _User) -> None:
    """Remove a user from a project; their jobs are kept and continue."""
    with Client() as client:
        client.delete(f"{_path(name)}/members/{quote(user, safe='')}")
    say(f"{user} is no longer listed in project {name}")


def _change(name: str, visibility: str) -> None:
    with Client() as client:
        made = client.patch(_path(name), {"visibility": visibility})
    say(_describe(made["name"], made["visibility"]))
    listed = ", ".join(f"{one['user']} ({one['role']})" for one in made["members"])
    if visibility == "private":
        say(f"Listed: {listed or 'nobody; only admins of the service can read it'}")


def _describe(name: str, visibility: str) -> str:
    if visibility == "open":
        return f"Project {name} is open: everyone can read it"
    return f"Project {name} is private: add people with `normlab project invite {name} USER`"


def _path(name: str) -> str:
    return f"projects/{quote(name, safe='')}"


_PROJECTS = (
    Column("name", field("name")),
    Column("visibility", field("visibility")),
    Column("your role", field("role")),
    Column("created by", field("owner")),
    Column("age", ago("created_at"), raw("created_at"), right=True),
)
_MEMBERS = (
    Column("user", field("user")),
    Column("role", field("role")),
    Column("given by", lambda member: "groups" if member["follows_groups"] else "hand"),
    Column("since", ago("added_at"), raw("added_at"), right=True),
)
