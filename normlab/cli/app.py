"""All verbs of the `normlab` command, in the order of its help."""

from collections.abc import Callable
from typing import Annotated

import typer

from normlab.cli import (
    annotating,
    catalog,
    curves,
    datasets,
    demo,
    following,
    insides,
    leaderboard,
    local,
    looking,
    people,
    presets,
    querying,
    reporting,
    starting,
    steering,
    submitting,
)
from normlab.cli.output import say

app = typer.Typer(
    name="normlab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="""Which normalization or regularization is better, and is the difference real?

Jobs are called j12, studies s3; a bare number means a job.

The service is the one at NORMLAB_URL, which needs a NORMLAB_TOKEN of its own, else the local stack of NORMLAB_HOME. Start one with `normlab up --detach`, or see everything at once with `normlab demo`.""",
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        say(f"normlab {version('normlab')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    # The texts of the help are those of `app`; this has the options that stand before a verb.
    pass


_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "The local stack": (local.up, local.down, local.status, demo.demo),
    "Submit": (
        starting.init,
        catalog.catalog,
        submitting.validate,
        submitting.plan,
        submitting.submit,
    ),
    "Look": (
        looking.list_,
        looking.show,
        looking.logs,
        looking.compare,
        curves.curves,
        reporting.report,
        leaderboard.leaderboard,
        querying.query,
        querying.export,
        insides.diagnostics,
        looking.queue,
        looking.download,
    ),
    "Follow": (following.watch, following.wait),
    "Say": (annotating.tag, annotating.note, annotating.archive, annotating.unarchive),
    "Steer": (
        steering.cancel,
        steering.pause,
        steering.resume,
        steering.retry,
        steering.priority,
        steering.extend,
        steering.declare,
    ),
}

for panel, verbs in _PANELS.items():
    for verb in verbs:
        app.command(verb.__name__.strip("_"), rich_help_panel=panel)(verb)

app.add_typer(datasets.app, name="dataset", rich_help_panel="Shared things")
app.add_typer(presets.app, name="preset", rich_help_panel="The literature")
app.add_typer(people.tokens, name="token", rich_help_panel="Shared things")
app.add_typer(people.users, name="users", rich_help_panel="Shared things")
