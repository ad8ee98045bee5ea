"""Checkpoints as safetensors, by a process that has torch: this one has not."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from normlab.errors import NormlabError


class ConversionFailed(NormlabError):
    """A checkpoint could not be converted."""


class Converter:
    """`python -m trainer.conversion`, started for the first checkpoint, and again after it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def convert(self, source: Path, target: Path, metadata: Mapping[str, str]) -> None:
        """Raises ConversionFailed."""
        if self._process is None:
            self._process = self._start()
        request = {
            "source": str(source.absolute()), "target": str(target.absolute()), "metadata": dict(metadata),
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = self._process.stdout.readline()
        if not line:
            raise ConversionFailed(self._explain_death())
        if (error := json.loads(line).get("error")) is not None:
            raise ConversionFailed(error)

    def _start(self) -> subprocess.Popen[str]:
        # Ctrl-C is for the process that waits for it. Safe path: a folder called `trainer` where the person stands
        # is none of ours.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer.conversion"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _explain_death(self) -> str:
        assert self._process is not None
        self._process.communicate()
        status, self._process = self._process.returncode, None
        if status < 0:
            return f"the process that converts was killed by signal {-status}, usually because memory is short"
        return f"the process that converts ended with status {status}; what it said is above"
