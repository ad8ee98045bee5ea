"""Output as tables, JSON and CSV, and the formatting of times and sizes."""

import csv
import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

Item: TypeAlias = Mapping[str, Any]


class Format(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Output: TypeAlias = Annotated[Format, typer.Option("--output", "-o", help="output format")]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and what an item shows there (`plain` for CSV, as `text` if None)."""

    title: str
    text: Callable[[Item], str]
    plain: Callable[[Item], Any] | None = None
    right: bool = False


def console() -> Console:
    """Wide enough for any table where no terminal limits it."""
    return Console() if sys.stdout.isatty() else Console(width=10_000, soft_wrap=True)


def say(text: str = "") -> None:
    """A plain line: no markup, no wrapping, at once."""
    print(text, flush=True)  # noqa: T201 - the command's voice


def say_paragraph(text: str) -> None:
    """Broken between words, at the edge of the terminal or where lines get hard to read."""
    say(textwrap.fill(text, min(console().width, 112), break_long_words=False))


def emit(items: Sequence[Item], columns: Sequence[Column], output: Format, nothing: str) -> None:
    """JSON is what the service sent; CSV and tables have the columns; `nothing` goes to stderr."""
    match output:
        case Format.JSON:
            say(json.dumps(list(items), indent=2))
        case Format.CSV:
            # `\n` as every other tool here writes it; csv's own default is `\r\n`.
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow([column.title for column in columns])
            for item in items:
                writer.writerow([(column.plain or column.text)(item) for column in columns])
        case Format.TABLE:
            if items:
                show_table(items, columns)
            else:
                typer.echo(nothing, err=True)


def show_table(items: Sequence[Item], columns: Sequence[Column]) -> None:
    """Whole at any width: what does not fit beside goes below, after the first column again."""
    to = console()
    texts = [[column.title, *(column.text(item) for item in items)] for column in columns]
    widths = [max(map(cell_len, cells)) for cells in texts]
    for number, part in enumerate(_parts(widths, to.width)):
        if number:
            say()
        made = Table(box=None, pad_edge=False, header_style="bold")
        for at in part:
            title, right = columns[at].title, columns[at].right
            made.add_column(title, justify="right" if right else "left", no_wrap=True)
        for row in zip(*(texts[at][1:] for at in part), strict=True):
            made.add_row(*map(Text, row))
        # Two columns too wide for the terminal: it breaks their lines itself, nothing is cut off.
        to.width = max(to.width, _together(widths, part))
        with to.capture() as printed:
            to.print(made)
        # Without the blanks that fill up the last column: they would wrap, too.
        say(re.sub(r" +(\x1b\[0m)?$", r"\1", printed.get().rstrip("\n"), flags=re.MULTILINE))


def _parts(widths: Sequence[int], available: int) -> list[list[int]]:
    """Which columns stand beside each other, as many as fit but two at least."""
    parts = [[0]]
    for at in range(1, len(widths)):
        if len(parts[-1]) > 1 and _together(widths, [*parts[-1], at]) > available:
            parts.append([0])
        parts[-1].append(at)
    return parts


def _together(widths: Sequence[int], part: Sequence[int]) -> int:
    return sum(widths[at] for at in part) + 2 * (len(part) - 1)


def field(name: str) -> Callable[[Item], str]:
    """An item's field as text; nothing for null."""
    return lambda item: "" if item.get(name) is None else str(item[name])


def raw(name: str) -> Callable[[Item], Any]:
    return lambda item: item.get(name)


def number(name: str, digits: int = 4) -> Callable[[Item], str]:
    def text(item: Item) -> str:
        value = item.get(name)
        return "" if value is None else f"{value:.{digits}f}"

    return text


def ago(name: str) -> Callable[[Item], str]:
    """How long ago a time was: `5m`."""

    def text(item: Item) -> str:
        if not item.get(name):
            return ""
        return duration(seconds_since(item[name]))

    return text


def until(time: str) -> str:
    """How long it is from now until a time of the service, at least 0."""
    return duration(max(0.0, -seconds_since(time)))


def seconds_since(time: str) -> float:
    """From an RFC 3339 time of the service until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


def duration(seconds: float) -> str:
    """`42s`, `5m`, `3h 20m`, `2d 4h`."""
    seconds = max(0, int(seconds))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s" if seconds < 600 else f"{seconds // 60}m"
    if seconds < 86400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d {seconds % 86400 // 3600}h"


def size(count: float) -> str:
    """Bytes: `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def status(item: Item) -> str:
    """`succeeded (early_stopped)`, `running → cancel`."""
    if item.get("requested_action"):
        return f"{item['status']} → {item['requested_action']}"
    reason = item.get("reason")
    return (
        f"{item['status']} ({reason})" if reason not in (None, item["status"]) else item["status"]
    )
