"""The verbs `watch` and `wait`: progress until the end, redrawn in a terminal, line by line when piped; `logs`; and
`webhook`, for who does not want to wait."""

import sys
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from normlab.cli.render import (
    Column,
    Format,
    Item,
    Output,
    ago,
    describe_pretraining,
    describe_trials,
    draw,
    emit,
    field,
    raw,
    say,
    summary,
    tell,
    until,
)
from normlab.cli.show import Named, jobs_of
from normlab.client import FINAL, Client, Reference, outlast_outage
from normlab.errors import NormlabError, WaitedTooLong

webhooks = typer.Typer(
    no_args_is_help=True,
    help="Send a message over HTTP, or by mail, when a study has ended: add, list, messages, remove, test.",
)

#: The service sends within seconds; a receiver has ten to answer.
_TEST_SECONDS = 45.0

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


def logs(
    name: Named,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="keep printing until it has ended")
    ] = False,
) -> None:
    """Print the log of a job, or of all jobs of a study."""
    with Client() as client:
        reference = Reference.parse(name)
        seen: dict[Reference, int] = {}
        while True:
            # Asked before the logs are read: lines that were written between the two are printed in this round,
            # and none is lost.
            ended = client.show(reference)["status"] in FINAL
            for job in jobs_of(client, reference):
                _print_logs(client, job, seen, prefix=reference.kind == "study")
            if ended or not follow:
                return
            time.sleep(1.0)


def follow_to_the_end(
    client: Client, references: Sequence[Reference], timeout: float | None = None
) -> int:
    """Shows progress; 0 if every one succeeded, else 1."""
    for reference in references:
        item = outlast_outage(partial(client.show, reference))
        if search := item.get("search"):
            say(describe_search(reference, search))
        if pretraining := item.get("pretraining"):
            say(f"{reference}: {describe_pretraining(pretraining)}")
        if growth := item.get("growth"):
            say(f"{reference}: until decided, {growth['sentence']}")
    jobs = follow(snapshots(client, references, timeout))
    for reference in references:
        item = client.show(reference)
        said = item.get("reason") or (item.get("growth") or {}).get("sentence")
        say(f"{reference}: {item['status']}" + (f" ({said})" if said else ""))
    for job in jobs:
        if job["status"] == "failed":
            last = (job.get("error") or "").strip().splitlines()[-1:]
            typer.echo(
                f"j{job['id']} {job['name']} failed: {job['reason']}: {''.join(last)}", err=True
            )
    succeeded = all(client.show(reference)["status"] == "succeeded" for reference in references)
    return 0 if succeeded else 1


def describe_search(reference: Reference, search: Item) -> str:
    """Why the number of its jobs grows."""
    trials = describe_trials(search)
    if search["made"] == search["trials"]:
        return f"{reference}: {trials}"
    later = search["trials"] - search["made"]
    return f"{reference}: {trials}; up to {later} of them are made as results come in, then the jobs of the comparison"


def _print_logs(
    client: Client, job: Reference, seen: dict[Reference, int], *, prefix: bool
) -> None:
    for line in client.part(job, "logs", after=seen.get(job)):
        seen[job] = line["id"]
        at = line["at"][11:19]
        say(f"{f'{job}  ' if prefix else ''}{at}  {line['level']:<7}  {line['text']}")


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


class Message(StrEnum):
    """What is sent to a webhook."""

    STANDARD = "standard"
    SLACK = "slack"


_Number = Annotated[int, typer.Argument(help="see `normlab webhook list`", metavar="ID")]


@webhooks.command()
def add(
    url: Annotated[
        str,
        typer.Argument(
            help="http or https, at a public address unless allowed; or mailto:ada@lab.example",
            metavar="URL",
        ),
    ],
    study: Annotated[
        str | None, typer.Option(help="about this study (s3) only, whoever owns it")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="about this project only, whoever owns it")
    ] = None,
    format: Annotated[
        Message | None,
        typer.Option(
            help="for a URL: JSON with all details (standard), or a text for a chat (slack)"
        ),
    ] = None,
) -> None:
    """Send a message when one of your studies has ended, with its verdict, or one of your jobs without a study has failed.

    Each message to a URL is signed with the secret that is printed (Standard Webhooks). The webhook is valid as
    long as the token that adds it.
    """
    body: dict[str, object] = {"url": url}
    if format is not None:
        body["format"] = format.value
    if study is not None:
        body["study"] = Reference.study(study).id
    if project is not None:
        body["project"] = project
    with Client() as client:
        made = client.post("webhooks", body)
    # On stderr, so that `SECRET=$(normlab webhook add URL)` gets the secret alone.
    save = "Save its secret: it is not shown again. " if made["secret"] else ""
    typer.echo(
        f"Webhook {made['id']} is added. {save}Try it with `normlab webhook test {made['id']}`.",
        err=True,
    )
    if made["expires_at"]:
        typer.echo(f"It expires with its token, at {made['expires_at']}.", err=True)
    if made["secret"]:
        say(made["secret"])


@webhooks.command("list")
def list_webhooks(output: Output = Format.TABLE) -> None:
    """List your webhooks and the state of their messages (admins: everyone's)."""
    with Client() as client:
        emit(client.items("webhooks"), _WEBHOOKS, output, "no webhooks")


@webhooks.command()
def messages(number: _Number, output: Output = Format.TABLE) -> None:
    """List a webhook's messages of the last 30 days, latest first, and the state of each."""
    with Client() as client:
        items = client.items(f"webhooks/{number}/deliveries")
    emit(items, _MESSAGES, output, "no messages")


@webhooks.command()
def remove(number: _Number) -> None:
    """Remove a webhook; messages that have not arrived yet are no longer sent."""
    with Client() as client:
        client.delete(f"webhooks/{number}")
    say(f"Webhook {number} is removed")


@webhooks.command()
def test(number: _Number) -> None:
    """Send a test message and wait for its delivery; the exit status is 0 if it arrives."""
    with Client() as client:
        before = client.post(f"webhooks/{number}/test")
        ends = time.monotonic() + _TEST_SECONDS
        while time.monotonic() < ends:
            time.sleep(0.5)
            now = next(one for one in client.items("webhooks") if one["id"] == number)
            if now["delivered_at"] != before["delivered_at"]:
                say(f"A message has arrived at {now['url']}")
                return
            if now["attempts"] > before["attempts"]:
                raise NormlabError(f"no message has arrived at {now['url']}: {now['failure']}")
    raise NormlabError(
        f"the message was not sent within {_TEST_SECONDS:g} s: check with `normlab status` that the sweep is running"
    )


def _scope(webhook: Item) -> str:
    if webhook["study"] is not None:
        return f"s{webhook['study']}"
    return webhook["project"] or "all of yours"


def _next_attempt(webhook: Item) -> str:
    return f"in {until(webhook['next_attempt_at'])}" if webhook["next_attempt_at"] else ""


def _subject(message: Item) -> str:
    if message["study"] is not None:
        return f"s{message['study']}"
    return f"j{message['job']}" if message["job"] is not None else "a test"


_MESSAGES = (
    Column("of", _subject),
    Column("age", ago("created_at"), raw("created_at"), right=True),
    Column("state", lambda message: str(message["state"]).replace("_", " "), raw("state")),
    Column("attempts", field("attempts"), raw("attempts"), right=True),
    Column("next attempt", _next_attempt, raw("next_attempt_at")),
    Column("why the last attempt failed", field("failure")),
    Column("id", field("message_id")),
)
_WEBHOOKS = (
    Column("id", field("id"), raw("id"), right=True),
    Column("user", field("user")),
    Column("url", field("url")),
    Column("of", _scope),
    Column("format", field("format")),
    Column("last arrived", ago("delivered_at"), raw("delivered_at"), right=True),
    Column("waiting", field("waiting"), raw("waiting"), right=True),
    Column("next attempt", _next_attempt, raw("next_attempt_at")),
    Column("given up", field("given_up"), raw("given_up"), right=True),
    Column("why the last did not arrive", field("failure")),
    Column("expires", field("expires_at")),
)
