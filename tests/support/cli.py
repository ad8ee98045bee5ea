"""The `normlab` command in the tests' own process: it starts at once, and coverage sees what it runs."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from normlab.cli import main


def run_here(
    *arguments: str, folder: Path = Path(), **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """As `normlab ARGUMENTS` in `folder`, with pipes instead of a terminal."""
    code: object = 0
    with (
        contextlib.chdir(folder),
        pytest.MonkeyPatch.context() as patch,
        CliRunner().isolation(env=environment) as (out, error, _),
    ):
        patch.setattr(sys, "argv", ["normlab", *arguments])
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        written = out.getvalue(), error.getvalue()
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(arguments, code, *written)
