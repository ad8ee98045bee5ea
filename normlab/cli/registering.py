"""A registration followed to its end: how far the worker is, and for how long it has been at it."""

import math
import sys
import time
from collections.abc import Iterator

import typer
from rich.live import Live
from rich.spinner import Spinner

from normlab.cli import following
from normlab.cli.output import console, duration, say
from normlab.client import Client
from normlab.references import Reference

#: Where nothing is redrawn, news is printed no more often than this, and what lasts again after longer.
LINE_SECONDS, SAME_LINE_SECONDS = 10.0, 60.0


def follow_registration(client: Client, job_id: int) -> None:
    """Returns when the job has ended, however it did."""
    job = Reference("job", job_id)
    progress = _progress(client, job)
    try:
        if sys.stdout.isatty():
            _draw(progress)
        else:
            _tell(progress)
    except KeyboardInterrupt:
        typer.echo(f"The registration goes on; to end it: normlab cancel {job}", err=True)
        raise


def _progress(client: Client, job: Reference) -> Iterator[str]:
    """What the job does, again and again: its log's last line while it runs."""
    last_id, text = 0, "reading what is there"
    for [state] in following.snapshots(client, [job]):
        match state["status"]:
            case "running":
                for line in client.part(job, "logs", after=last_id):
                    last_id, text = line["id"], line["text"]
                yield text
            case "queued":
                yield "waiting for a worker" if not state["attempt"] else "about to be tried again"
            case "paused":
                yield f"paused (go on with: normlab resume {job})"


def _draw(progress: Iterator[str]) -> None:
    began = time.monotonic()
    spinner = Spinner("dots", "asking")
    with Live(spinner, console=console(), refresh_per_second=8, transient=True):
        for text in progress:
            spinner.update(text=f"{text} · {duration(time.monotonic() - began)}")


def _tell(progress: Iterator[str]) -> None:
    began, said_at, said = time.monotonic(), -math.inf, ""
    for text in progress:
        now = time.monotonic()
        if now - said_at >= (SAME_LINE_SECONDS if text == said else LINE_SECONDS):
            say(f"[{duration(now - began)}] {text}")
            said_at, said = now, text
