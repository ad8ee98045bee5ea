"""A comparison along the axes of its matrix, as tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from normlab.cli.render.output import Column, Item, say, say_paragraph, show_table
from normlab.cli.render.units import interval, p_value, scaled, unit_name


def show_axes(comparison: Mapping[str, Any]) -> None:
    """A table of means per axis, and how each variant moves along it."""
    for axis in comparison["axes"]:
        say()
        say(f"{unit_name(comparison['metric'])} over {axis['path']} (means over seeds):")
        rows = [{"variant": name, "means": means} for name, means in axis["table"].items()]
        show_table(rows, list(_columns(axis, comparison["metric"])))
        for line in _slopes(axis, comparison):
            say_paragraph(line)


def _columns(axis: Mapping[str, Any], metric: str) -> Iterator[Column]:
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
