"""Verdicts on claims as a table with sentences."""

from collections.abc import Sequence

from normlab.cli.render.output import Column, Item, field, say, say_paragraph, show_table


def show_claims(found: Sequence[Item]) -> None:
    """A line per claim, then the sentence it rests on."""
    if not found:
        return
    show_table(found, _COLUMNS)
    say()
    for one in found:
        say_paragraph(f"- {one['name']}: {one['sentence']}")
    say()


_COLUMNS = (
    Column("claim", field("name")),
    Column("verdict", field("verdict")),
    Column("what is claimed", field("says")),
    Column("reported before", field("paper")),
)
