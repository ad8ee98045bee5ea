"""The `normlab` command with all its verbs, in the order of its help."""

from collections.abc import Callable
from typing import Annotated

import typer

from normlab.cli import (
    control,
    curves,
    datasets,
    demo,
    devices,
    presets,
    query,
    report,
    show,
    stack,
    submit,
    usage,
    watch,
)
from normlab.cli.people import projects, users
from normlab.cli.render import say

app = typer.Typer(
    name="normlab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="""Which normalization or regularization is better, and is the difference real?

Jobs are called j12, studies s3; a bare number means a job.

Commands use the service at NORMLAB_URL with NORMLAB_TOKEN; if NORMLAB_URL is not set, the local stack in NORMLAB_HOME. Start a local stack with `normlab up --detach`, or try everything at once with `normlab demo`.""",
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
    "Local stack": (
        stack.up,
        stack.down,
        stack.status,
        stack.backup,
        stack.restore,
        demo.demo,
        devices.worker,
    ),
    "Submit": (
        submit.init,
        presets.catalog,
        submit.validate,
        submit.plan,
        submit.submit,
        submit.mcp,
    ),
    "Inspect": (
        show.list_,
        show.show,
        watch.logs,
        show.compare,
        curves.curves,
        report.report,
        query.leaderboard,
        query.query,
        report.export,
        curves.diagnostics,
        show.queue,
        usage.usage,
        report.download,
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
        control.delete,
    ),
}

for panel, verbs in _PANELS.items():
    for verb in verbs:
        app.command(verb.__name__.strip("_"), rich_help_panel=panel)(verb)

app.add_typer(stack.mirror, name="mirror", rich_help_panel="Local stack")
app.add_typer(watch.webhooks, name="webhook", rich_help_panel="Follow")
app.command("audit", rich_help_panel="Administration")(users.audit)
app.command("gc", rich_help_panel="Administration")(usage.gc)
app.add_typer(datasets.app, name="dataset", rich_help_panel="Administration")
app.add_typer(presets.app, name="preset", rich_help_panel="Presets")
app.add_typer(projects.projects, name="project", rich_help_panel="Administration")
app.add_typer(users.tokens, name="token", rich_help_panel="Administration")
app.add_typer(users.users, name="users", rich_help_panel="Administration")
app.add_typer(devices.devices, name="devices", rich_help_panel="Administration")
app.add_typer(devices.workers, name="workers", rich_help_panel="Administration")
app.add_typer(usage.limits, name="limits", rich_help_panel="Administration")
