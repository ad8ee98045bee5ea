"""A plan as text: jobs by variant and point, sizes, time, the possible verdict, defaults."""

import shlex
from collections.abc import Sequence
from typing import Any

import typer

from normlab.cli.render.output import (
    Column,
    Format,
    Item,
    duration,
    emit,
    field,
    say,
    say_paragraph,
    size,
)


def show_plan(plan: Item, file: str, settings: Sequence[str] = ()) -> None:
    """Print all of a plan."""
    emit(plan["arms"], _ARMS, Format.TABLE, "no jobs")
    say()
    say(_cells(plan))
    say(f"Steps: at most {plan['steps']:,} in total")
    for line in bill_lines(plan["bill"]):
        say_paragraph(line)
    if plan["verdict"]:
        say(f"Verdict: {plan['verdict']['sentence']}")
    if plan["defaults"]:
        say_paragraph(f"Defaults used: {', '.join(map(_default, plan['defaults']))}")
    for warning in plan["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    for same in plan["same_as"][:1]:
        say(f"Study s{same} trains the same jobs; add seeds to it with: normlab extend s{same}")
    options = "".join(f" --set {shlex.quote(one)}" for one in settings)
    say(f"Submit it with: normlab submit {file}{options}")


def trials_of(plan: Item) -> str:
    """`at most 160 trials (80 at once, 80 as results come in)`: a small space has fewer, and bad ones may be left before
    their last seed."""
    first, later = plan["count"], plan["later_trials"]
    if plan["pretrainings"]:
        return f"{first} pretraining{'s' * (first != 1)}"
    if not later:
        return f"{first} trials"
    return f"at most {first + later} trials ({first} at once, {later} as results come in)"


def _cells(plan: Item) -> str:
    """`Jobs: 32 cells (4 variants × 1 point × 8 seeds)`."""
    if plan["kind"] == "job":
        return "Jobs: 1"
    trials = f"{trials_of(plan)}, then " if plan["then"] else ""
    cells = plan["then"] or plan["count"]
    factors = [(plan["variants"], "variant"), (plan["points"], "point"), (plan["seeds"], "seed")]
    product = " × ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in factors)
    whole = plan["variants"] * plan["points"] * plan["seeds"]
    left_out = f", minus {whole - cells} excluded" if cells < whole else ""
    return f"Jobs: {trials}{cells} cells ({product}{left_out}){_most(plan, cells)}"


def _most(plan: Item, cells: int) -> str:
    """`, at most 80 with 40 seeds`."""
    seeds, most = plan["seeds"], plan["most_seeds"]
    return f", at most {cells // seeds * most} with {most} seeds" if most > seeds else ""


_BASES = {
    "same": "estimated from finished jobs, some of them of the same variants",
    "shape": "estimated from finished jobs of the same model, norm, data and batch size",
    "scaled": "a rough guess from finished jobs of another size",
}


def bill_lines(bill: Item) -> list[str]:
    """What it will take of the machines, and how sure that is."""
    reused = bill["reused"]
    lines = [f"Reused: {reused} of {bill['jobs']} jobs were trained before"] if reused else []
    if bill["device_seconds"] is None:
        return [*lines, "Bill: unknown, because no comparable job has been trained"]
    if reused == bill["jobs"]:
        return [*lines, "Bill: nothing is left to train"]
    error = bill["usual_error"]
    usual = f"; such bills are usually off by {error:.0%}" if error is not None else ""
    basis = f"{_BASES[bill['basis']]}: {bill['finished']} of them{usual}"
    least = bill["least_device_seconds"]
    from_least = f"{duration(least)} to " if least is not None else ""
    lines.append(f"Bill: {from_least}{duration(bill['device_seconds'])} of device time ({basis})")
    if bill["unknown"]:
        lines.append(
            f"  without {bill['unknown']} jobs, because no comparable job has been trained"
        )
    wall = bill["wall_seconds"]
    if wall is not None:
        lines.append(f"Done in: {duration(wall)}, with the current queue")
    elif not bill["unknown"]:
        lines.append("Done in: unknown, because no worker with such a device is running")
    sizes = {"Memory": "memory_bytes", "Disk": "stored_bytes"}
    said = [f"{name}: {size(bill[key])}" for name, key in sizes.items() if bill[key] is not None]
    return [*lines, *([", ".join(said)] if said else [])]


def _default(taken: Item) -> str:
    where = f" ({', '.join(taken['arms'])})" if taken["arms"] else ""
    return f"{taken['field']} {_value(taken)}{where}"


def _value(taken: Item) -> str:
    value: Any = taken["value"]
    if taken["field"] == "resources.timeout":
        return duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _point(item: Item) -> str:
    return ", ".join(f"{path}={value}" for path, value in item["point"].items())


def _split(name: str) -> Any:
    return lambda arm: str(arm["examples"].get(name, ""))


CELLS = (
    Column("name", field("name")),
    Column("variant", field("variant")),
    Column("point", _point),
    Column("seed", field("seed"), right=True),
)
_ARMS = (
    Column("name", field("name")),
    Column("jobs", field("jobs"), right=True),
    Column("parameters", lambda arm: f"{arm['parameters']:,}", right=True),
    Column("train", _split("train"), right=True),
    Column("val", _split("val"), right=True),
    Column("test", _split("test"), right=True),
    Column("steps of a job", lambda arm: f"{arm['steps']:,}", right=True),
)
