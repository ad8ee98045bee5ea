"""Entries of a dataset's record: what was taken, mapped and skipped, with a few examples."""

from collections.abc import Sequence
from typing import Literal

from trainer.spec import RecordEntry

_EXAMPLES = 5


def entry(
    action: Literal["taken", "mapped", "skipped"],
    what: str,
    examples: Sequence[str] = (),
    *,
    count: int | None = None,
    why: str | None = None,
) -> RecordEntry:
    """Without a count, that of the examples, of which the first few are kept."""
    return RecordEntry(
        action=action,
        what=printable(what),
        count=count if count is not None or not examples else len(examples),
        why=why,
        examples=tuple(map(printable, examples[:_EXAMPLES])),
    )


def printable(name: str) -> str:
    """A name as documents and databases can hold it: they refuse what is not UTF-8, and NUL."""
    return name.encode(errors="backslashreplace").decode().replace("\0", "\\0")


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], noun: str) -> str:
    """The only name, or how many there are."""
    return names[0] if len(names) == 1 else plural(len(names), noun)
