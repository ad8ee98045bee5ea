"""A measured figure beside its goal, and what a section of the benchmark returns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Bound: TypeAlias = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Goal:
    bound: Bound
    value: float

    def is_reached(self, value: float) -> bool:
        return value <= self.value if self.bound == "at most" else value >= self.value


def at_most(value: float) -> Goal:
    return Goal("at most", value)


def at_least(value: float) -> Goal:
    return Goal("at least", value)


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is None where it could not be measured; `note` then says why."""

    name: str
    value: float | None
    unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`reached`, `missed`, `not measured`; empty where there is no goal."""
        if self.value is None:
            return "not measured"
        if self.goal is None:
            return ""
        return "reached" if self.goal.is_reached(self.value) else "missed"


@dataclass(frozen=True, slots=True)
class Section:
    """`figures` make its table; `rounds` are what they were computed from, as JSON."""

    title: str
    figures: Sequence[Figure]
    rounds: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        rows = [{**asdict(figure), "verdict": figure.verdict} for figure in self.figures]
        return {"title": self.title, "figures": rows, "rounds": dict(self.rounds)}


def format_value(value: float | None) -> str:
    """Three significant digits, and every digit before the point."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


HEAD = ("", "measured", "goal", "")


def table_rows(figures: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Of figures as `Section.describe` gives them: name, value, goal, verdict or note."""
    return [
        (
            row["name"],
            f"{format_value(row['value'])} {row['unit']}".strip(),
            "" if row["goal"] is None else _describe_goal(row["goal"]),
            "; ".join(part for part in (row["verdict"], row["note"]) if part),
        )
        for row in figures
    ]


def _describe_goal(goal: Mapping[str, Any]) -> str:
    return f"{'≤' if goal['bound'] == 'at most' else '≥'} {goal['value']:,g}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """In columns: names to the left, values to the right, what follows to the left."""
    table = [HEAD, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  "
        + "  ".join(
            text.ljust(width) if i in (0, len(HEAD) - 1) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEAD, ("---", "---:", "---:", "---"), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
