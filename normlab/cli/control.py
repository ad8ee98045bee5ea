"""`cancel`, `pause`, `resume`, `retry`, `priority`, `extend`, `declare`, and `tag`, `note`, `archive`, `unarchive`:
changes to jobs and studies."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from normlab.cli.render import say, status
from normlab.client import Client, Reference
from normlab.errors import NormlabError

Named = Annotated[str, typer.Argument(help="a job (j12) or a study (s3)", metavar="ID")]
Many = Annotated[list[str], typer.Argument(help="jobs (j12) or studies (s3)", metavar="ID...")]


def cancel(names: Many) -> None:
    """Cancel; a running job stops at its next step."""
    _order(names, "cancel")


def pause(names: Many) -> None:
    """Pause; a running job saves itself and gives its device back."""
    _order(names, "pause")


def resume(names: Many) -> None:
    """Let paused jobs go on where they stopped."""
    _order(names, "resume")


def retry(
    names: Many,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="of a study, the cancelled jobs, too")
    ] = False,
) -> None:
    """Run a failed or cancelled job again, or the failed jobs of a study."""
    _order(names, "retry", cancelled=cancelled or None)


class Priority(StrEnum):
    """The classes of the queue, the last one first in line."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


def priority(
    names: Many, to: Annotated[Priority, typer.Argument(help="the class of the queue")]
) -> None:
    """Change the priority of jobs that haven't ended: `normlab priority s2 j40 high`."""
    references = [Reference.parse(name) for name in names]
    with Client() as client:
        for reference in references:
            item = client.prioritize(reference, to.value)
            say(f"{_sentence(reference, item)}, priority {to.value}")


def extend(
    study: Annotated[str, typer.Argument(help="a study (s3)", metavar="STUDY")],
    seeds: Annotated[str, typer.Option(help="how many more, or which: 8,9,10")],
) -> None:
    """Add seeds to a study: every variant is trained with them, too.

    Its verdict becomes exploratory, unless the study declared `looks` and grows to one of them.
    """
    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        raise NormlabError(
            f"--seeds takes a number or a list like 8,9,10 but got {seeds!r}"
        ) from None
    reference = Reference.study(study)
    with Client() as client:
        item = client.extend(reference, numbers if "," in seeds else numbers[0])
    say(_sentence(reference, item))
    for note in item.get("notes", []):
        say(note)


def declare(
    study: Annotated[str, typer.Argument(help="a study (s3)", metavar="STUDY")],
    kind: Annotated[str, typer.Argument(help="the difference, as `compare` names it: libraries")],
    why: Annotated[str, typer.Option(help="why it doesn't matter; your name stands beside it")],
) -> None:
    """Stand for a difference between variants that withholds the ranking."""
    reference = Reference.study(study)
    with Client() as client:
        item = client.declare(reference, kind, why)
    say(f"{reference}: declared {', '.join(sorted(item['declared']))}")


def _order(names: list[str], verb: str, **parameters: Any) -> None:
    references = [Reference.parse(name) for name in names]
    with Client() as client:
        for reference in references:
            item = client.order(reference, verb, **parameters)
            say(_sentence(reference, item))


def _sentence(reference: Reference, item: dict[str, Any]) -> str:
    if reference.kind == "job":
        return f"{reference}: {status(item)}"
    counts = ", ".join(f"{count} {word}" for word, count in item["counts"].items() if count)
    return f"{reference}: {item['status']} ({counts})"


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
