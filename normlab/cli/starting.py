"""`init`: a commented study to start from."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli.output import say
from normlab.errors import NormlabError


def init(
    file: Annotated[Path, typer.Argument(help="where it goes")] = Path("study.yaml"),
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there")] = False,
) -> None:
    """Write a commented study to start from."""
    template = (resources.files("normlab") / "template.yaml").read_text(encoding="utf-8")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(template)
    except FileExistsError:
        raise NormlabError(f"{file} exists already; --force replaces it") from None
    except OSError as error:
        raise NormlabError(f"{file} cannot be written: {error.strerror}") from error
    say(f"{file} is a study with comments: change it, then see what it would train with")
    say(f"  normlab plan {file}")
