"""All verbs of the `normlab` command, in the order of its help."""

from collections.abc import Callable
from typing import Annotated

import typer

from normlab.cli import (
    catalog,
    control,
    curves,
    datasets,
    demo,
    diagnostics,
    presets,
    query,
    report,
    show,
    stack,
    submit,
    users,
    watch,
)
from normlab.cli.render import say

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
    "The local stack": (stack.up, stack.down, stack.status, demo.demo),
    "Submit": (
        submit.init,
        catalog.catalog,
        submit.validate,
        submit.plan,
        submit.submit,
    ),
    "Inspect": (
        show.list_,
        show.show,
        show.logs,
        show.compare,
        curves.curves,
        report.report,
        query.leaderboard,
        query.query,
        query.export,
        diagnostics.diagnostics,
        show.queue,
        show.download,
    ),
    "Follow": (watch.watch, watch.wait),
    "Annotate": (control.tag, control.note, control.archive, control.unarchive),
    "Control": (
        control.cancel,
        control.pause,
        control.resume,
        control.retry,
        control.priority,
        control.extend,
        control.declare,
    ),
}

for panel, verbs in _PANELS.items():
    for verb in verbs:
        app.command(verb.__name__.strip("_"), rich_help_panel=panel)(verb)

app.add_typer(datasets.app, name="dataset", rich_help_panel="Administration")
app.add_typer(presets.app, name="preset", rich_help_panel="Presets")
app.add_typer(users.tokens, name="token", rich_help_panel="Administration")
app.add_typer(users.users, name="users", rich_help_panel="Administration")
