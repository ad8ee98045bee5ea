"""The `normlab` command: its entry point and how its errors are printed."""

import os
import sys

from normlab.errors import NormlabError


def main() -> None:
    """A person's mistake is one message on stderr and status 1, never a traceback."""
    from normlab.cli.app import app

    try:
        app()
    except NormlabError as error:
        print(f"normlab: {error}", file=sys.stderr)  # noqa: T201 - the command's voice
        sys.exit(1)
    except BrokenPipeError:
        # `normlab list | head`: the reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
