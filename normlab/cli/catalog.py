"""The verb `catalog`: the options of a spec."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from normlab.cli.render import Column, Format, Output, emit, field, say, say_paragraph
from normlab.client import Client
from normlab.errors import NormlabError


def _first_sentence(text: str) -> str:
    """Names of authors may be followed by `et al.`, which ends no sentence."""
    return re.split(r"(?<!al)\. ", text, maxsplit=1)[0].rstrip(".")


_CHOICES = (
    Column("section", field("section")),
    Column("kind", field("kind")),
    Column("paper", lambda one: "; ".join(one["papers"])),
    Column("what it is", lambda one: _first_sentence(one["description"])),
)


def catalog(
    section: Annotated[
        str | None, typer.Argument(help="norms, regularizers, models, …; default: all")
    ] = None,
    kind: Annotated[
        str | None, typer.Argument(help="one entry, with its options and pitfalls")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """List what a spec can choose from, with options, papers and pitfalls."""
    with Client() as client:
        found = client.get("catalog")
    chosen = _chosen(found, section, kind)
    if output is Format.JSON:
        say(json.dumps(chosen, indent=2))
    elif kind is not None and output is Format.TABLE:
        for one in chosen:
            _describe(one)
    else:
        emit(chosen, _CHOICES, output, "nothing")


def _chosen(
    found: Mapping[str, list[dict[str, Any]]], section: str | None, kind: str | None
) -> list[dict[str, Any]]:
    if section is not None and section not in found:
        raise NormlabError(f"there is no section {section!r}; there are {', '.join(found)}")
    named = [
        {"section": name, **one}
        for name, choices in found.items()
        if section in (None, name)
        for one in choices
    ]
    chosen = [one for one in named if kind in (None, one["kind"])]
    if not chosen:
        kinds = ", ".join(one["kind"] for one in named)
        raise NormlabError(f"{section} has no {kind!r}; it has {kinds}")
    return chosen


def _describe(choice: Mapping[str, Any]) -> None:
    say_paragraph(f"{choice['kind']}: {choice['description']}")
    for line in _options(choice["options"]):
        say(f"  {line}")
    for options, layouts in (choice["layouts"] or {}).items():
        named = "" if options == "all options" else f" ({options})"
        defined = [layout for layout, reason in layouts.items() if reason is None]
        say(f"  defined on{named}: {'  '.join(defined)}")
        for layout, reason in layouts.items():
            if reason is not None:
                say_paragraph(f"  not on {layout}: {reason}")
    for pitfall in choice["pitfalls"]:
        say_paragraph(f"  Note: {pitfall}")


def _options(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, option in schema["properties"].items():
        if name == "kind":
            continue
        default = f" = {json.dumps(option['default'])}" if "default" in option else ""
        values = option.get("enum")
        choices = f" ({' | '.join(map(str, values))})" if values else ""
        described = f": {option['description']}" if "description" in option else ""
        yield f"{name}{default}{choices}{described}"
