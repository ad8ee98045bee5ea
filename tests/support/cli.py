"""The `normlab` command in the tests' own process: it starts at once, and coverage sees what it runs."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from normlab.cli import main


def run_here(
    *arguments: str, folder: Path = Path(), **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """As `normlab ARGUMENTS` in `folder`, with pipes instead of a terminal."""
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        contextlib.chdir(folder),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["normlab", *arguments])
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int), code
    written = []
    for stream in (out, error):
        stream.flush()
        written.append(stream.buffer.getvalue())
    return subprocess.CompletedProcess(arguments, code, *written)
