"""A comparison: the verdict, tables of variants and along the matrix, how to read them; and verdicts on claims."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from normlab.cli.render.output import Column, Item, field, say, say_paragraph, show_table
from normlab.cli.render.units import interval, p_value, scaled, unit_name


class ComparisonFormat(StrEnum):
    """How a comparison is printed; the service makes the tables for a page or a paper."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


def show_comparison(comparison: Mapping[str, Any]) -> None:
    """The answer first, then the table that it rests on, then how to read it."""
    for line in answer(comparison):
        say_paragraph(line)
    say()
    show_table(comparison["variants"], columns(comparison))
    _show_axes(comparison)
    say()
    for line in legend(comparison):
        say_paragraph(line)


def columns(comparison: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns for the items of `variants`; accuracies are shown in percent."""
    metric, baseline = comparison["metric"], comparison["baseline"]

    def difference(one: Item) -> str:
        if one["variant"] == baseline:
            return "baseline"
        return scaled((one["difference"] or {}).get("mean"), metric, sign=True)

    def difference_interval(one: Item) -> str:
        return interval((one["difference"] or {}).get("interval"), metric, sign=True)

    numbers: dict[str, Callable[[Item], str]] = {
        "n": lambda one: str(one["n"]),
        unit_name(metric): lambda one: _mean(one, metric),
        "95 % interval": lambda one: interval(one["interval"], metric),
        f"difference to {baseline}": difference,
        "95 % interval of it": difference_interval,
        "p (Holm)": lambda one: p_value((one["difference"] or {}).get("p_adjusted")),
        "": lambda one: str((one["difference"] or {}).get("decision") or ""),
        "epochs to stop": lambda one: _number((one.get("epochs") or {}).get("mean"), 1),
        "diverged": lambda one: str(one["diverged"]),
        "failed": lambda one: str(one["failed"]),
    }
    # A column of zeros would only make the table wider than the terminal.
    if any(one.get("still_improving") for one in comparison["variants"]):
        numbers["still improving"] = lambda one: str(one.get("still_improving") or 0)
    if any(one.get("to_threshold") for one in comparison["variants"]):
        numbers["steps to threshold"] = _to_threshold
    name = Column("variant", lambda one: str(one.get("name") or one["variant"]))
    return (name, *(Column(title, text, right=bool(title)) for title, text in numbers.items()))


def answer(comparison: Mapping[str, Any]) -> list[str]:
    """The verdict, and what it says of each variant or why there is none: a paragraph each."""
    verdict = comparison["verdict"]
    return [verdict["sentence"], *(f"- {reason}" for reason in verdict["reasons"])]


def legend(comparison: Mapping[str, Any]) -> list[str]:
    """How to read the table, and what to be careful about: a paragraph each, in the service's words."""
    notes = (f"Note: {note}" for note in comparison.get("notes", []))
    return [*comparison.get("explanations", []), *notes]


def _mean(one: Item, metric: str) -> str:
    if one["std"] is None:
        return scaled(one["mean"], metric)
    return f"{scaled(one['mean'], metric)} ± {scaled(one['std'], metric)}"


def _to_threshold(one: Item) -> str:
    """`240 (8 of 8)`: mean steps of the jobs that got there."""
    found = one["to_threshold"]
    steps = "" if found["steps"] is None else f"{found['steps']:.0f} "
    return f"{steps}({found['reached']} of {len(one['values'])})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _show_axes(comparison: Mapping[str, Any]) -> None:
    """A table of means per axis, and how each variant moves along it."""
    for axis in comparison["axes"]:
        say()
        say(f"{unit_name(comparison['metric'])} over {axis['path']} (means over seeds):")
        rows = [{"variant": name, "means": means} for name, means in axis["table"].items()]
        show_table(rows, list(_axis_columns(axis, comparison["metric"])))
        for line in _slopes(axis, comparison):
            say_paragraph(line)


def _axis_columns(axis: Mapping[str, Any], metric: str) -> Iterator[Column]:
    yield Column("variant", lambda row: str(row["variant"]))
    for number, value in enumerate(axis["values"]):

        def text(row: Item, number: int = number) -> str:
            return scaled(row["means"][number], metric)

        yield Column(str(value), text, right=True)


def _slopes(axis: Mapping[str, Any], comparison: Mapping[str, Any]) -> Iterator[str]:
    metric, baseline = comparison["metric"], comparison["baseline"]
    for one in axis["slopes"]:
        if one["mean"] is None:
            continue
        line = f"{one['variant']}: {scaled(one['mean'], metric, sign=True)} {axis['scale']}"
        if one["interval"] is not None:
            line += f" ({interval(one['interval'], metric, sign=True)})"
        difference = one["difference"]
        if difference is not None and difference["mean"] is not None:
            line += f"; to {baseline}'s slope {scaled(difference['mean'], metric, sign=True)}"
        if difference is not None and difference["p_adjusted"] is not None:
            line += f", p = {p_value(difference['p_adjusted'])} after Holm"
        yield line


def show_side_by_side(comparison: Mapping[str, Any]) -> None:
    """Groups or arms of several studies: what was found, the table, which jobs are pairs and which aren't."""
    say_paragraph(comparison["sentence"])
    say()
    show_table(comparison["groups"], _group_columns(comparison))
    say()
    say_paragraph(comparison["rule"])
    for note in comparison["notes"]:
        say_paragraph(f"Note: {note}")
    for line in comparison["unpaired"]:
        say_paragraph(f"Without a partner: {line}")


def _group_columns(comparison: Mapping[str, Any]) -> tuple[Column, ...]:
    metric, reference = comparison["metric"], comparison["reference"]

    def of_difference(
        name: str, write: Callable[..., str], **options: Any
    ) -> Callable[[Item], str]:
        return lambda one: write((one["difference"] or {}).get(name), **options)

    def finding(one: Item) -> str:
        if one["is_reference"]:
            return "reference"
        withheld = "; ".join(one["withheld"])
        return str((one["difference"] or {}).get("decision") or withheld)

    numbers: dict[str, Callable[[Item], str]] = {
        "jobs": lambda one: str(one["jobs"]),
        unit_name(metric): lambda one: _mean(one, metric),
        "95 % interval": lambda one: interval(one["interval"], metric),
        f"minus {reference}": of_difference("mean", scaled, metric=metric, sign=True),
        "95 % interval of it": of_difference("interval", interval, metric=metric, sign=True),
        "pairs": lambda one: str(one["pairs"]) if not one["is_reference"] else "",
        "p (Holm)": of_difference("p_adjusted", p_value),
        "": finding,
    }
    name = Column("group", field("name"))
    return (name, *(Column(title, text, right=bool(title)) for title, text in numbers.items()))


def show_claims(found: Sequence[Item]) -> None:
    """A line per claim, then the sentence it rests on."""
    if not found:
        return
    show_table(found, _CLAIMS)
    say()
    for one in found:
        say_paragraph(f"- {one['name']}: {one['sentence']}")
    say()


_CLAIMS = (
    Column("claim", field("name")),
    Column("verdict", field("verdict")),
    Column("what is claimed", field("says")),
    Column("reported before", field("paper")),
)
