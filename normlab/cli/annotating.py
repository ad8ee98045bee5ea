"""`tag`, `note`, `archive`, `unarchive`: what people say of jobs and studies."""

from typing import Annotated

import typer

from normlab.cli.output import say
from normlab.client import Client
from normlab.references import Reference

Named = Annotated[str, typer.Argument(help="a job (j12) or a study (s3)", metavar="ID")]
Many = Annotated[list[str], typer.Argument(help="jobs (j12) or studies (s3)", metavar="ID...")]


def tag(
    name: Named,
    tags: Annotated[list[str] | None, typer.Argument(help="tags to add", metavar="TAG...")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="a tag to take away")] = None,
) -> None:
    """Add tags to a job or study, or take some away; without any, print them."""
    with Client() as client:
        have = list(client.show(name)["tags"])
        if tags or remove:
            wanted = [one for one in [*have, *(tags or ())] if one not in (remove or ())]
            have = list(client.annotate(name, tags=wanted)["tags"])
    say(f"{Reference.parse(name)}: {', '.join(have) or 'no tags'}")


def note(
    name: Named,
    text: Annotated[str | None, typer.Argument(help="the whole note; '' removes it")] = None,
) -> None:
    """Write a note to a job or study; without a text, print it."""
    with Client() as client:
        found = client.show(name) if text is None else client.annotate(name, note=text)
    say(found["note"] or f"{Reference.parse(name)}: no note")


def archive(names: Many) -> None:
    """Take what has ended out of the way: lists leave it out, nothing is deleted."""
    _set_archived(names, archived=True)


def unarchive(names: Many) -> None:
    """Bring back what was archived."""
    _set_archived(names, archived=False)


def _set_archived(names: list[str], *, archived: bool) -> None:
    references = [Reference.parse(name) for name in names]
    with Client() as client:
        for reference in references:
            client.annotate(reference, archived=archived)
            say(f"{reference}: {'archived' if archived else 'back in the lists'}")
