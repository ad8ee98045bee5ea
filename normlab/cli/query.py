"""The verbs `query` and `leaderboard`: results of all studies, filtered, sorted, grouped, ranked."""

import json
from typing import Annotated, Any

import typer

from normlab.cli.render import (
    Column,
    Format,
    Item,
    Output,
    emit,
    interval,
    raw,
    say,
    scaled,
    unit_name,
)
from normlab.client import Client
from normlab.errors import NormlabError

#: Printed unwrapped (`\b`), in 78 columns.
_GRAMMAR = """

\b
normlab query 'norm.kind=group and optimizer.lr>=0.1 and test_accuracy>0.9'
normlab query 'status=failed and reason in (oom, timeout)' --sort -finished
normlab query 'regularization.dropout.p>0.2 or not tag=paper' -o json
normlab query 'name ~ "wide net"' --columns id,norm.kind,best.val_accuracy
normlab query 'project=digits' --by norm.kind,optimizer.lr --sort -mean

\b
Fields     values of a spec: norm.kind, optimizer.lr, training.batch_size ...
           of a list, any element: regularization.kind=dropout
           of elements of a kind: regularization.dropout.p>0.2
           of a job: id, name, status, reason, variant, seed, study (name
           or s3), project, person, created, started, finished, epochs,
           seconds, attempts, tag, archived, dataset, device
           metrics: best.val_accuracy, test_accuracy, metrics.NAME ...
Operators  = == != < <= > >=, ~ (contains), in (a, b), not in (a, b)
Logic      and, or, not, parentheses; not binds first, or last
Values     0.1, true, false, null, words, 'strings', "strings",
           dates (2026-11-26: that day) and times (2026-11-26T09:30:00Z)
Missing    comparisons with missing or non-finite values are false,
           also != and not in; norm.groups=null matches missing values
Archived   jobs are left out unless the query says archived (archived=true)
"""

Query = Annotated[str | None, typer.Argument(help="which jobs; default: all", metavar="QUERY")]
Study = Annotated[str | None, typer.Option(help="only this study (s3)")]


def query(
    text: Query = None,
    sort: Annotated[
        str | None,
        typer.Option(help="field to sort by (with --by also mean, n, ...); -FIELD: descending"),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="fields to show: id,norm.kind,test_accuracy")
    ] = None,
    by: Annotated[str | None, typer.Option(help="group by these fields, with statistics")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="with --by: metric of the statistics; default: best.val_accuracy"),
    ] = None,
    study: Study = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="maximum number of lines")
    ] = 50,
    output: Output = Format.TABLE,
) -> None:
    """Search the results of all studies."""
    if by is None and metric is not None:
        raise NormlabError("--metric requires --by")
    if by is not None and columns is not None:
        raise NormlabError("--columns cannot be combined with --by")
    with Client() as client:
        if by is not None:
            names = by.split(",")
            found = client.groups(text, by=names, metric=metric, sort=sort, study=study)
            wanted = _group_columns(found)
        else:
            # JSON is what programs read: all that the service sends, unless they ask for less.
            chosen = columns or (None if output is Format.JSON else _usual(sort))
            # One more than is shown tells whether there are more.
            filters = {"query": text, "sort": sort, "columns": chosen, "most": limit + 1}
            found = client.result_rows(study, **filters)
            wanted = [_column(name) for name in found[0]] if found else []
    emit(found[:limit], wanted, output, "nothing matches")
    if len(found) > limit:
        typer.echo(f"There are more than {limit} results: -n {limit * 10} shows more", err=True)


query.__doc__ = (query.__doc__ or "") + _GRAMMAR


def _usual(sort: str | None) -> str:
    """The columns of a table unless others are asked for; what it is sorted by is among them."""
    names = ["job_id", "name", "study", "status", "reason", "best.val_accuracy", "test_accuracy"]
    if sort and (field := sort.strip().lstrip("-")) not in names:
        names.append(field)
    return ",".join(names)


def _column(name: str) -> Column:
    def text(row: Item) -> str:
        value = row[name]
        return f"j{value}" if name == "job_id" else _shown(value)

    def plain(row: Item) -> Any:
        value = row[name]
        return json.dumps(value) if isinstance(value, list | dict | bool) else value

    return Column("job" if name == "job_id" else name, text, plain)


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case list():
            return ", ".join(map(_shown, value))
        case dict():
            return json.dumps(value)
        case _:
            return str(value)


def _group_columns(groups: list[dict[str, Any]]) -> list[Column]:
    if not groups:
        return []
    metric = groups[0]["metric"]

    def share(name: str) -> Column:
        return Column(name, lambda one: scaled(one[name], metric), raw(name), right=True)

    def count(name: str) -> Column:
        return Column(name, lambda one: str(one[name]), raw(name), right=True)

    return [
        *(_key(name) for name in groups[0]["by"]),
        Column("n", _scored, raw("n"), right=True),
        Column(unit_name(metric), lambda one: scaled(one["mean"], metric), raw("mean"), right=True),
        *(share(name) for name in ("std", "median", "interquartile_mean")),
        Column("95 % interval", lambda one: interval(one["interval"], metric), right=True),
        *(share(name) for name in ("best", "worst")),
        *(count(name) for name in ("diverged", "failed", "pending")),
    ]


def _scored(group: Item) -> str:
    """`3`, or `3 of 5` where jobs have no value."""
    return str(group["n"]) if group["n"] == group["jobs"] else f"{group['n']} of {group['jobs']}"


def _key(name: str) -> Column:
    return Column(name, lambda one: _shown(one["by"][name]), lambda one: one["by"][name])


def leaderboard(
    project: Annotated[str | None, typer.Option(help="only this project's")] = None,
    dataset: Annotated[str | None, typer.Option(help="only this dataset")] = None,
    metric: Annotated[
        str, typer.Option(help="best_val_accuracy or best_val_loss; the test set is sealed")
    ] = "best_val_accuracy",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="maximum number of entries per board")
    ] = 20,
    output: Output = Format.TABLE,
) -> None:
    """Rank specs by validation results of all users, one board per dataset and task."""
    with Client() as client:
        found = client.leaderboard(project=project, dataset=dataset, metric=metric, limit=limit)
    if output is not Format.TABLE or not found:
        emit(found, _columns(metric), output, "no job has ended yet")
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
