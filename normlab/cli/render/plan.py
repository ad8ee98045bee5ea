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
)


def show_plan(plan: Item, file: str, settings: Sequence[str] = ()) -> None:
    """Print all of a plan."""
    emit(plan["arms"], _ARMS, Format.TABLE, "no jobs")
    say()
    say(_cells(plan))
    say(f"Steps: {plan['steps']:,} in all, at most")
    say_paragraph(f"Time: {time_sentence(plan)}")
    if plan["verdict"]:
        say(f"Verdict: {plan['verdict']['sentence']}")
    if plan["defaults"]:
        say_paragraph(f"Defaults taken: {', '.join(map(_default, plan['defaults']))}")
    for warning in plan["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    for same in plan["same_as"][:1]:
        say(f"Study s{same} trains the same: normlab extend s{same} adds seeds to it")
    options = "".join(f" --set {shlex.quote(one)}" for one in settings)
    say(f"Submit it with: normlab submit {file}{options}")


def _cells(plan: Item) -> str:
    """`Jobs: 32 cells (4 variants × 1 point × 8 seeds)`."""
    if plan["kind"] == "job":
        return "Jobs: 1"
    trials = f"{plan['count']} trials of tuning, then " if plan["then"] else ""
    cells = plan["then"] or plan["count"]
    factors = [(plan["variants"], "variant"), (plan["points"], "point"), (plan["seeds"], "seed")]
    product = " × ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in factors)
    whole = plan["variants"] * plan["points"] * plan["seeds"]
    left_out = f", less {whole - cells} that are left out" if cells < whole else ""
    return f"Jobs: {trials}{cells} cells ({product}{left_out})"


def time_sentence(plan: Item) -> str:
    """How long the jobs take, and what says so."""
    estimate = plan["estimate"]
    if estimate is None:
        return "unknown: no finished job has trained such a model on this data"
    jobs = "1 finished job" if estimate["jobs"] == 1 else f"{estimate['jobs']} finished jobs"
    basis = (
        f"measured on {jobs} of the same model, data and batch size"
        if estimate["basis"] == "measured"
        else f"a rough guess from {jobs} of another size, by parameters and images per step"
    )
    if estimate["seconds"] is None:
        where = "of training, but no worker is running"
        return f"{_range(estimate['work_seconds'])} {where} ({basis})"
    slots = f"{estimate['slots']} slot{'' if estimate['slots'] == 1 else 's'}"
    return f"at most {_range(estimate['seconds'])} on {slots} once it starts ({basis})"


def _range(seconds: Sequence[float]) -> str:
    low, high = (duration(max(1.0, one)) for one in seconds)
    return f"about {high}" if low == high else f"{low} to {high}"


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
