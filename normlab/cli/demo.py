"""`demo`: from nothing to a comparison on real data, with one command."""

from importlib import resources
from pathlib import Path
from typing import Any

import typer

from normlab.cli import following
from normlab.cli.comparison import columns, legend
from normlab.cli.local import bring_up
from normlab.cli.output import console, say, table
from normlab.cli.submitting import show_accepted
from normlab.client import Client
from normlab.home import Home
from normlab.references import Reference


def demo() -> None:
    """Start the stack if needed, train 4 variants × 8 seeds on handwritten digits, and compare them."""
    home = Home.from_environment()
    if not home.is_locked() or home.read_state().get("phase") != "ready":
        bring_up(home)
    else:
        say(f"Normlab is running in {home.folder}")
    with Client(home.read_state()["api_url"], home.token()) as client:
        _run(client, home)


def _run(client: Client, home: Home) -> None:
    file = Path(str(resources.files("normlab") / "demo.yaml"))
    say()
    say("Does normalization help a small network on handwritten digits, and which one?")
    say(f"The study is {file}")
    reference = client.submit(file)
    show_accepted(client, reference)
    say()
    code = following.follow_to_the_end(client, [reference])
    say()
    _show_comparison(client.comparison(reference))
    say()
    _show_where_next(client, reference, home)
    raise typer.Exit(code)


def _show_comparison(comparison: dict[str, Any]) -> None:
    console().print(table(comparison["variants"], columns(comparison)))
    say()
    for line in legend(comparison):
        say(line)


def _show_where_next(client: Client, reference: Reference, home: Home) -> None:
    study = client.show(reference)
    job = client.jobs_of(reference)[0]["id"]
    say("Where to look next:")
    say(f"  every curve and model, in MLflow   {study.get('mlflow_url') or home.mlflow_url}")
    say(f"  the API, to try out                {client.url}/docs  (token: {home.folder / 'token'})")
    say(f"  this table again                   normlab compare {reference}")
    say(f"  every job, or one                  normlab show {reference}, normlab show j{job}")
    say(f"  four more seeds                    normlab extend {reference} --seeds 4")
    say(
        "  a study of your own                copy the file above, then: normlab submit FILE --wait"
    )
    say("  stop it all                        normlab down")
