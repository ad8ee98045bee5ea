"""How answers look: tables, JSON, CSV, and the small formats in them. Knows no route."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

Item: TypeAlias = Mapping[str, Any]


class Format(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Output: TypeAlias = Annotated[Format, typer.Option("--output", "-o", help="how to print it")]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and what an item shows there (`plain` for CSV, as `text` if None)."""

    title: str
    text: Callable[[Item], str]
    plain: Callable[[Item], Any] | None = None
    right: bool = False


def console() -> Console:
    """Wide enough for any table where no terminal limits it."""
    return Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)


def say(text: str = "") -> None:
    """A plain line: no markup, no wrapping, at once."""
    print(text, flush=True)  # noqa: T201 - the command's voice


def emit(items: Sequence[Item], columns: Sequence[Column], output: Format, nothing: str) -> None:
    """JSON is what the service sent; CSV and tables have the columns; `nothing` goes to stderr."""
    match output:
        case Format.JSON:
            say(json.dumps(list(items), indent=2))
        case Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow([column.title for column in columns])
            for item in items:
                writer.writerow([(column.plain or column.text)(item) for column in columns])
        case Format.TABLE:
            if items:
                console().print(table(items, columns))
            else:
                typer.echo(nothing, err=True)


def table(items: Sequence[Item], columns: Sequence[Column]) -> Table:
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for item in items:
        made.add_row(*(Text(column.text(item)) for column in columns))
    return made


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
        then = datetime.fromisoformat(item[name])
        return duration((datetime.now(UTC) - then).total_seconds())

    return text


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
    if item.get("wish"):
        return f"{item['status']} → {item['wish']}"
    reason = item.get("reason")
    return (
        f"{item['status']} ({reason})" if reason not in (None, item["status"]) else item["status"]
    )
