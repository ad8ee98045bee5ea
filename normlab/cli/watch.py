"""The verbs `watch` and `wait`: progress until the end, redrawn in a terminal, line by line when piped."""

import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from normlab.cli.render import draw, say, summary, tell
from normlab.client import FINAL, Client, Reference, outlast_outage
from normlab.errors import WaitedTooLong

Names = Annotated[list[str], typer.Argument(help="jobs (j12) or studies (s3)", metavar="ID...")]


def watch(names: Names) -> None:
    """Follow jobs or studies until they have ended."""
    with Client() as client:
        follow_to_the_end(client, [Reference.parse(name) for name in names])


def wait(
    names: Names,
    timeout: Annotated[float | None, typer.Option(help="maximum time to wait, in seconds")] = None,
) -> None:
    """Wait until jobs or studies have ended; the exit status is 0 only if all succeeded."""
    with Client() as client:
        references = [Reference.parse(name) for name in names]
        raise typer.Exit(follow_to_the_end(client, references, timeout))


def follow_to_the_end(
    client: Client, references: Sequence[Reference], timeout: float | None = None
) -> int:
    """Shows progress; 0 if every one succeeded, else 1."""
    jobs = follow(snapshots(client, references, timeout))
    for reference in references:
        item = client.show(reference)
        say(
            f"{reference}: {item['status']}"
            + (f" ({item['reason']})" if item.get("reason") else "")
        )
    for job in jobs:
        if job["status"] == "failed":
            last = (job.get("error") or "").strip().splitlines()[-1:]
            typer.echo(
                f"j{job['id']} {job['name']} failed: {job['reason']}: {''.join(last)}", err=True
            )
    succeeded = all(client.show(reference)["status"] == "succeeded" for reference in references)
    return 0 if succeeded else 1


def follow(snapshots: Iterator[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The last snapshot, after all were shown."""
    return draw(snapshots) if sys.stdout.isatty() else tell(snapshots)


def snapshots(
    client: Client, references: Sequence[Reference], timeout: float | None = None
) -> Iterator[list[dict[str, Any]]]:
    """All jobs concerned, again and again, until none is left to wait for."""
    began = time.monotonic()
    read: dict[Reference, list[dict[str, Any]]] = {}
    while True:
        asked_at = time.monotonic()
        for one in references:
            # What has ended isn't asked for again: of a long list of studies only the last ones cost requests.
            if one not in read or not _have_ended(read[one]):
                read[one] = outlast_outage(partial(_jobs, client, one))
        jobs = [job for one in references for job in read[one]]
        yield jobs
        if _have_ended(jobs):
            return
        now = time.monotonic()
        if timeout is not None and now - began > timeout:
            raise WaitedTooLong(f"not finished after {timeout:g} s: {summary(jobs)}")
        # To be watched must not cost the service more than a tenth of its time.
        time.sleep(min(10.0, max(0.5, 9 * (now - asked_at))))


def _have_ended(jobs: Sequence[dict[str, Any]]) -> bool:
    return all(job["status"] in FINAL for job in jobs)


def _jobs(client: Client, reference: Reference) -> list[dict[str, Any]]:
    return [client.show(reference)] if reference.kind == "job" else client.jobs_of(reference)
