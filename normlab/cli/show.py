"""The verbs that read: `list`, `show`, `compare`, `queue`."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from normlab.cli.render import (
    Column,
    ComparisonFormat,
    Format,
    Output,
    ago,
    describe_pretraining,
    describe_trials,
    duration,
    emit,
    field,
    importance_lines,
    problem_lines,
    raw,
    say,
    say_workers,
    scaled,
    show_claims,
    show_comparison,
    show_queue,
    show_side_by_side,
    status,
    test_metric,
    waiting_lines,
)
from normlab.client import Client, Reference, SideBySide
from normlab.errors import NormlabError

Named = Annotated[str, typer.Argument(help="a job (j12) or a study (s3)", metavar="ID")]
Job = Annotated[str, typer.Argument(help="a job (j12)", metavar="JOB")]
Study = Annotated[str, typer.Argument(help="a study (s3)", metavar="STUDY")]


def list_(
    jobs: Annotated[
        bool, typer.Option("--jobs", "-j", help="list jobs instead of studies")
    ] = False,
    study: Annotated[str | None, typer.Option(help="only this study's jobs")] = None,
    project: Annotated[str | None, typer.Option(help="only this project's")] = None,
    status: Annotated[str | None, typer.Option(help="only jobs with this status")] = None,
    variant: Annotated[str | None, typer.Option(help="only jobs of this variant")] = None,
    owner: Annotated[str | None, typer.Option(help="only this user's")] = None,
    tag: Annotated[str | None, typer.Option(help="only those with this tag")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="include archived")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="maximum number")] = 50,
    output: Output = Format.TABLE,
) -> None:
    """List studies, newest first; with --jobs or a filter on jobs, list jobs."""
    wanted = {"project": project, "owner": owner, "tag": tag, "archived": archived or None}
    with Client() as client:
        if jobs or study or status or variant:
            number = Reference.study(study).id if study else None
            found = client.jobs(most=limit, study=number, status=status, variant=variant, **wanted)
            emit(found, JOBS, output, "no jobs")
        else:
            studies = client.studies(most=limit, **wanted)
            emit(
                studies,
                STUDIES,
                output,
                "no studies yet; jobs are listed with: normlab list --jobs",
            )


def show(name: Named, output: Output = Format.TABLE) -> None:
    """Show a job (status, metrics, attempts) or a study (status, jobs)."""
    with Client() as client:
        reference = Reference.parse(name)
        item = client.show(reference)
        if output is Format.JSON:
            say(json.dumps(item, indent=2))
        elif reference.kind == "study":
            _show_study(client, reference, item, output)
        else:
            _show_job(client, reference, item, output)


def compare(
    names: Annotated[
        list[str] | None, typer.Argument(help="a study (s3), or several", metavar="STUDY...")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="compare groups of any jobs by these fields instead: norm.kind"),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="only jobs that match: 'training.batch_size=64'")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="default: the study's metric; of several or of groups: best_val_accuracy"
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="of several studies or groups: what all others are compared with"),
    ] = None,
    output: Annotated[
        ComparisonFormat,
        typer.Option("--output", "-o", help="output format; latex: a table for a paper"),
    ] = ComparisonFormat.TABLE,
) -> None:
    """Compare the variants of a study: verdict, means, intervals, paired differences to the baseline.

    With several studies, or with --by, compare their variants or groups of any jobs side by side.
    """
    studies = names or []
    if len(studies) != 1 or by or query or reference:
        _compare_side_by_side(output, query, studies, by, metric, reference)
        return
    [name] = studies
    with Client() as client:
        match output:
            case ComparisonFormat.CSV | ComparisonFormat.MARKDOWN | ComparisonFormat.LATEX:
                say(client.comparison_table(name, output.value, metric).rstrip())
            case ComparisonFormat.JSON:
                say(json.dumps(client.comparison(name, metric), indent=2))
            case ComparisonFormat.TABLE:
                comparison = client.comparison(name, metric)
                show_claims(client.verdicts(name))
                show_comparison(comparison)


def _compare_side_by_side(
    output: ComparisonFormat,
    query: str | None,
    studies: Sequence[str],
    by: str | None,
    metric: str | None,
    reference: str | None,
) -> None:
    if not (studies or by):
        raise NormlabError("name a study, several, or the fields to group jobs by: --by norm.kind")
    asked: SideBySide = {
        "by": by.split(",") if by else None,
        "studies": studies,
        "metric": metric,
        "reference": reference,
    }
    with Client() as client:
        match output:
            case ComparisonFormat.MARKDOWN | ComparisonFormat.LATEX:
                raise NormlabError(f"{output.value} is a format of one study's comparison: use csv")
            case ComparisonFormat.CSV:
                say(client.side_by_side_table(query, **asked).rstrip())
            case ComparisonFormat.JSON:
                say(json.dumps(client.side_by_side(query, **asked), indent=2))
            case ComparisonFormat.TABLE:
                show_side_by_side(client.side_by_side(query, **asked))


def queue(output: Output = Format.TABLE) -> None:
    """Show running jobs, waiting jobs in the order in which they will start, and hosts that cannot work."""
    with Client() as client:
        found = client.get("queue")
        workers = client.get("workers")["items"] if output is Format.TABLE else ()
    if output is Format.JSON:
        say(json.dumps(found, indent=2))
        return
    show_queue(found, output)
    say_workers(workers)


def _show_study(client: Client, reference: Reference, item: dict[str, Any], output: Format) -> None:
    jobs = client.jobs_of(reference)
    if output is Format.TABLE:
        counts = ", ".join(f"{count} {word}" for word, count in item["counts"].items() if count)
        say(f"study {reference}  {item['name']}: {item['status']} ({counts})")
        say(
            f"project {item['project']}, owner {item['owner']}, submitted {ago('created_at')(item)} ago"
        )
        say(f"metric {item['metric']}, baseline {item['baseline']}")
        if bill := item["bill"]:
            expected, taken = duration(bill["expected_seconds"]), duration(bill["seconds"])
            say(
                f"bill: {expected} for {bill['jobs']} jobs; they took {taken} ({bill['error']:+.0%})"
            )
        if search := item["search"]:
            say(f"search: {describe_trials(search)}")
            for line in importance_lines((item["tuning"] or {}).get("arms", ())):
                say(line)
        if pretraining := item.get("pretraining"):
            say(describe_pretraining(pretraining))
        if growth := item["growth"]:
            say(f"until decided: {growth['sentence']}")
        if item["reused"]:
            say(
                f"{item['reused']} of its jobs reuse the results of identical jobs (`--fresh` trains them)"
            )
        _show_remarks(item)
        say()
    emit(jobs, JOBS, output, "no jobs")
    if output is Format.TABLE:
        say()
        say(f"Compare its variants with: normlab compare {reference}")


def _show_remarks(item: dict[str, Any]) -> None:
    """Warnings, tags, note, the link to MLflow, problems of the mirror."""
    for warning in item["warnings"]:
        say(f"warning: {warning}")
    if item["tags"] or item["archived"]:
        say(f"tags: {', '.join([*item['tags'], *(['(archived)'] if item['archived'] else [])])}")
    if item["note"]:
        say(f"note: {item['note']}")
    if item.get("mlflow_url"):
        say(f"MLflow: {item['mlflow_url']}")
    for line in problem_lines(item):
        say(line)


def _show_job(client: Client, reference: Reference, item: dict[str, Any], output: Format) -> None:
    if output is Format.CSV:
        emit([item], JOBS, output, "")
        return
    say(f"job {reference}  {item['name']}: {status(item)}")
    study = f", study s{item['study_id']}" if item.get("study_id") else ""
    say(f"project {item['project']}, owner {item['owner']}{study}, seed {item['seed']}")
    if item["reused_from"]:
        say(f"not trained: it reuses the results of the identical job j{item['reused_from']}")
    say(
        f"step {item['step']} of {item['total_steps'] or '?'}, trained for {duration(item['seconds_used'])}"
    )
    for line in waiting_lines(item):
        say(line)
    _show_remarks(item)
    values = {**item["metrics"], **item["non_finite"]}
    if values:
        say()
        width = max(map(len, values))
        for metric, value in values.items():
            say(
                f"  {metric:<{width}}  {value:.6g}"
                if isinstance(value, float | int)
                else f"  {metric:<{width}}  {value}"
            )
    attempts = client.part(reference, "attempts")
    if attempts:
        say()
        emit(attempts, _ATTEMPTS, output, "")
    if item.get("error"):
        say()
        say(item["error"].rstrip())


def jobs_of(client: Client, reference: Reference) -> list[Reference]:
    if reference.kind == "job":
        return [reference]
    return [Reference("job", job["id"]) for job in client.jobs_of(reference)]


JOBS = (
    Column("id", lambda job: f"j{job['id']}", raw("id")),
    Column("name", field("name")),
    Column("project", field("project")),
    Column("owner", field("owner")),
    Column("status", status),
    Column(
        "step", lambda job: f"{job['step']}/{job['total_steps'] or '?'}", raw("step"), right=True
    ),
    Column(
        "test",
        lambda job: scaled(job["metrics"].get(test_metric(job)), test_metric(job)),
        lambda job: job["metrics"].get(test_metric(job)),
        right=True,
    ),
    Column("age", ago("created_at"), raw("created_at"), right=True),
)
STUDIES = (
    Column("id", lambda study: f"s{study['id']}", raw("id")),
    Column("name", field("name")),
    Column("project", field("project")),
    Column("owner", field("owner")),
    Column("status", field("status")),
    Column(
        "jobs",
        lambda study: " ".join(
            f"{count} {word}" for word, count in study["counts"].items() if count
        ),
    ),
    Column("age", ago("created_at"), raw("created_at"), right=True),
)
_ATTEMPTS = (
    Column("attempt", field("number"), right=True),
    Column("host", field("host")),
    Column("started", lambda row: row["started_at"][:19].replace("T", " "), raw("started_at")),
    Column("ended", lambda row: (row["ended_at"] or "")[:19].replace("T", " "), raw("ended_at")),
    Column("end", field("end")),
    Column("first step", field("first_step"), right=True),
)
