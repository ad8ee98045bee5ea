"""A registration followed to its end: how far the worker is, and for how long it has been at it."""

from collections.abc import Iterator

import typer

from normlab.cli import following
from normlab.cli.patience import Patience
from normlab.client import Client
from normlab.references import Reference


def follow_registration(client: Client, job_id: int) -> None:
    """Returns when the job has ended, however it did."""
    job = Reference("job", job_id)
    try:
        with Patience("waiting for the registration") as wait:
            for text in _progress(client, job):
                wait(text)
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
