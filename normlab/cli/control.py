"""The verbs that change jobs and studies: control (`cancel`, `pause`, `delete`, ...) and annotation (`tag`, `note`, ...)."""

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from normlab.cli.render import say, status
from normlab.cli.submit import Fresh
from normlab.client import Client, Reference
from normlab.errors import NormlabError

Named = Annotated[str, typer.Argument(help="a job (j12) or a study (s3)", metavar="ID")]
Many = Annotated[list[str], typer.Argument(help="jobs (j12) or studies (s3)", metavar="ID...")]


def cancel(names: Many) -> None:
    """Cancel jobs; a running job stops at its next step."""
    _order(names, "cancel")


def pause(names: Many) -> None:
    """Pause jobs; a running job saves a checkpoint and releases its device."""
    _order(names, "pause")


def resume(names: Many) -> None:
    """Resume paused jobs from their last checkpoint."""
    _order(names, "resume")


def retry(
    names: Many,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="for a study, also its cancelled jobs")
    ] = False,
) -> None:
    """Run a failed or cancelled job again, or the failed jobs of a study."""
    _order(names, "retry", cancelled=cancelled or None)


class Priority(StrEnum):
    """The priority classes of the queue, lowest first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


def priority(
    names: Many, to: Annotated[Priority, typer.Argument(help="the priority class")]
) -> None:
    """Change the priority of jobs that haven't ended: `normlab priority s2 j40 high`."""
    references = [Reference.parse(name) for name in names]
    with Client() as client:
        for reference in references:
            item = client.prioritize(reference, to.value)
            say(f"{_sentence(reference, item)}, priority {to.value}")


def extend(
    study: Annotated[str, typer.Argument(help="a study (s3)", metavar="STUDY")],
    seeds: Annotated[str, typer.Option(help="how many more, or which ones: 8,9,10")],
    fresh: Fresh = False,
) -> None:
    """Add seeds to a study; every variant is trained with them.

    Its verdict becomes exploratory, unless the study declared `looks` and grows to one of them. A study with
    `seeds: until decided` can be extended up to one of its looks, or beyond the last.
    """
    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        raise NormlabError(
            f"--seeds takes a number or a list like 8,9,10 but got {seeds!r}"
        ) from None
    reference = Reference.study(study)
    with Client() as client:
        item = client.extend(reference, numbers if "," in seeds else numbers[0], fresh=fresh)
    say(_sentence(reference, item))
    for note in item.get("notes", []):
        say(note)


def declare(
    study: Annotated[str, typer.Argument(help="a study (s3)", metavar="STUDY")],
    kind: Annotated[str, typer.Argument(help="the kind of difference, as in `compare`: libraries")],
    why: Annotated[str, typer.Option(help="why it doesn't matter; recorded with your name")],
) -> None:
    """Acknowledge a difference between variants that withholds the ranking."""
    reference = Reference.study(study)
    with Client() as client:
        item = client.declare(reference, kind, why)
    say(f"{reference}: declared {', '.join(sorted(item['declared']))}")


def delete(
    names: Annotated[
        list[str] | None, typer.Argument(help="jobs (j12) or studies (s3)", metavar="[ID...]")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="a registered dataset")] = None,
    project: Annotated[
        list[str] | None, typer.Option(help="a project with everything in it")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="don't ask")] = False,
) -> None:
    """Permanently delete jobs, studies, datasets or projects that have ended: rows, files and MLflow's runs.

    A study is deleted with its jobs; a single job of a study can't be deleted. Results that other jobs reuse are kept.
    `archive` only hides.
    """
    references = [Reference.parse(name) for name in names or ()]
    paths = {str(one): one.path for one in references}
    paths |= {f"dataset {name}": f"datasets/{quote(name, safe='')}" for name in dataset or ()}
    paths |= {f"project {name}": f"projects/{quote(name, safe='')}" for name in project or ()}
    if not paths:
        raise NormlabError("name what to delete: j12, s3, --dataset NAME or --project NAME")
    if not yes:
        typer.confirm(f"Permanently delete {', '.join(paths)}? This can't be undone.", abort=True)
    with Client() as client:
        for what, path in paths.items():
            client.delete(path)
            say(f"{what}: deleted; its files and MLflow's runs follow within seconds")


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
    remove: Annotated[list[str] | None, typer.Option(help="a tag to remove")] = None,
) -> None:
    """Add or remove tags of a job or study; without tags, print them."""
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
    """Set the note of a job or study; without a text, print it."""
    with Client() as client:
        found = client.show(name) if text is None else client.annotate(name, note=text)
    say(found["note"] or f"{Reference.parse(name)}: no note")


def archive(names: Many) -> None:
    """Archive jobs or studies that have ended: lists leave them out, nothing is deleted."""
    _set_archived(names, archived=True)


def unarchive(names: Many) -> None:
    """Unarchive jobs or studies."""
    _set_archived(names, archived=False)


def _set_archived(names: list[str], *, archived: bool) -> None:
    references = [Reference.parse(name) for name in names]
    with Client() as client:
        for reference in references:
            client.annotate(reference, archived=archived)
            say(f"{reference}: {'archived' if archived else 'unarchived'}")
