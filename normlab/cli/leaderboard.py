"""`leaderboard`: which spec did best on validation."""

import json
from typing import Annotated, Any

import typer

from normlab.cli.output import Column, Format, Item, Output, emit, raw, say
from normlab.cli.shares import interval, scaled, unit_name
from normlab.client import Client


def leaderboard(
    project: Annotated[str | None, typer.Option(help="only this project's")] = None,
    dataset: Annotated[str | None, typer.Option(help="only on this dataset")] = None,
    metric: Annotated[
        str, typer.Option(help="best_val_accuracy or best_val_loss; test is sealed")
    ] = "best_val_accuracy",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="per board")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """Which spec did best on validation, whoever trained it; a board per dataset and task."""
    with Client() as client:
        found = client.leaderboard(project=project, dataset=dataset, metric=metric, limit=limit)
    if output is not Format.TABLE or not found:
        emit(found, _columns(metric), output, "nothing has ended yet")
        return
    boards: dict[str, list[Any]] = {}
    for entry in found:
        boards.setdefault(_board(entry), []).append(entry)
    for number, (name, entries) in enumerate(boards.items()):
        if number:
            say()
        say(name)
        emit(entries, _columns(metric), output, "")


def _board(entry: Item) -> str:
    """`digits, classification (train_size: 200)`: what is said beyond the defaults stands in brackets."""
    said = {key: value for key, value in entry["dataset"].items() if key != "name" and value}
    more = f" ({', '.join(f'{key}: {json.dumps(value)}' for key, value in said.items())})"
    return f"{entry['dataset']['name']}, {entry['task']['kind']}{more if said else ''}"


def _columns(metric: str) -> tuple[Column, ...]:
    def jobs(entry: Item) -> str:
        return f"j{entry['best_job']}" if entry["best_job"] is not None else ""

    return (
        Column(
            "rank", lambda one: "–" if one["rank"] is None else str(one["rank"]), raw("rank"), True
        ),
        Column("spec", lambda one: str(one["name"])),
        Column("n", lambda one: str(one["n"]), right=True),
        Column(unit_name(metric), lambda one: scaled(one["mean"], metric), raw("mean"), True),
        Column(
            "95 % interval", lambda one: interval(one["interval"], metric), raw("interval"), True
        ),
        Column("diverged", lambda one: str(one["diverged"]), right=True),
        Column("failed", lambda one: str(one["failed"]), right=True),
        Column("studies", lambda one: ", ".join(f"s{number}" for number in one["studies"])),
        Column("best job", jobs, raw("best_job")),
    )
