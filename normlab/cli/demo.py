"""The verb `demo`: from nothing to a comparison on real data."""

import os
import shutil
import sys
from importlib import resources
from pathlib import Path

import typer

from normlab.cli import watch
from normlab.cli.render import say, show_comparison
from normlab.cli.stack import bring_up
from normlab.cli.submit import show_accepted
from normlab.client import Client, Reference
from normlab.home import Home


def demo() -> None:
    """Start the stack if needed, train 4 variants × 8 seeds on handwritten digits, and compare them."""
    home = Home.from_environment()
    if not home.is_locked() or home.read_state().get("phase") != "ready":
        bring_up(home)
    else:
        say(f"Normlab is running in {home.folder}")
    with Client(home=home) as client:
        _run(client, home)


def _run(client: Client, home: Home) -> None:
    file = Path(str(resources.files("normlab") / "demo.yaml"))
    say()
    say("Which norms let a network of sigmoids learn handwritten digits?")
    say(f"The study is {file}")
    reference, item = client.accept(file)
    show_accepted(client, reference, item)
    say()
    code = watch.follow_to_the_end(client, [reference])
    say()
    show_comparison(client.comparison(reference))
    say()
    show_where_next(client, reference, home)
    raise typer.Exit(code)


def show_where_next(client: Client, reference: Reference, home: Home) -> None:
    """Ends with the address to open."""
    study = client.show(reference)
    job = client.jobs_of(reference)[0]["id"]
    command = _own_name()
    curves = study.get("mlflow_url") or home.mlflow_url
    rows = {
        "this study in the browser": f"{client.url}/studies/{reference.id}  (token: {home.token_file})",
        "API documentation": f"{client.url}/docs",
        "show this table again": f"{command} compare {reference}",
        "write a report with figures": f"{command} report {reference} > report.html",
        "show all jobs, or one": f"{command} show {reference}, {command} show j{job}",
        "add four seeds": f"{command} extend {reference} --seeds 4",
        "run your own study": f"{client.url}/submit, or copy the file above: {command} submit FILE --wait",
        "stop the stack": f"{command} down",
    }
    say("Where to look next:")
    for what, where in rows.items():
        say(f"  {what:<34} {where}")
    say()
    say(f"Every curve and model is in MLflow (log in to the page first); open {curves}")


def _own_name() -> str:
    """What to type to get this command again: `make demo` activates no virtual environment."""
    typed = Path(sys.argv[0])
    found = shutil.which(typed.name)
    if found is not None and Path(found).resolve() == typed.resolve():
        return typed.name
    return os.path.relpath(typed) if typed.name == "normlab" else "normlab"
