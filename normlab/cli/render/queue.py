"""The queue, and why one job waits."""

from collections.abc import Mapping
from typing import Any

from normlab.cli.render.output import Column, Format, Item, duration, emit, field, raw, say, until


def show_queue(found: Mapping[str, Any], output: Format) -> None:
    # One table of both, as a person asks when a job will start and what it waits for at once.
    rows = [{**row, "state": "running"} for row in found["running"]]
    rows += [{**row, "state": "queued"} for row in found["queued"]]
    emit(rows, _QUEUE, output, "no jobs are running or waiting")
    if output is Format.TABLE and (error := found.get("estimates")):
        off, wait = error["median_error_seconds"], error["median_wait_seconds"]
        say()
        say(
            f"The estimated starts of the last {error['count']} jobs were off by {duration(off)} (median), after a "
            f"wait of {duration(wait)}."
        )


def waiting_lines(item: Item) -> list[str]:
    """Of a job that waits: why, at which position, and when it may start."""
    waiting, obstacle = item.get("waiting"), item.get("obstacle")
    if not waiting:
        return [f"waiting: {obstacle}"] if obstacle else []
    parts = [waiting["detail"]]
    if waiting["position"] is not None:
        parts.append(f"position {waiting['position']}")
    if waiting["expected_start_at"]:
        parts.append(f"expected to start in {until(waiting['expected_start_at'])}")
    also = [f"waiting: {obstacle}"] if obstacle and obstacle != waiting["detail"] else []
    return [*also, f"waiting: {', '.join(parts)}"]


def _study_label(row: Item) -> str:
    return f"s{row['study_id']} {row['study']}" if row["study_id"] is not None else ""


_QUEUE = (
    # None: a job of a private project of others.
    Column("id", lambda row: f"j{row['id']}" if row["id"] is not None else "", raw("id")),
    Column("state", field("state")),
    Column("position", field("position"), right=True),
    Column("study", _study_label, raw("study_id")),
    Column("name", field("name")),
    Column("priority", field("priority")),
    Column("owner", field("owner")),
    Column(
        "waiting",
        lambda row: (
            duration(row["waiting_seconds"]) if row.get("waiting_seconds") is not None else ""
        ),
        raw("waiting_seconds"),
        right=True,
    ),
    Column(
        "starts in",
        lambda row: until(row["expected_start_at"]) if row.get("expected_start_at") else "",
        raw("expected_start_at"),
        right=True,
    ),
    Column("reason", field("reason")),
    Column("why", field("detail")),
)
