"""The process that draws: matplotlib never comes into the one that asks for a picture."""

import sys
from collections.abc import Sequence

import structlog

from runtime.helper_process import CommandRunner
from runtime.supervision import HelperGone, Limits, OverLimit, Stopped

COMMAND = (sys.executable, "-m", "studies.figures")
#: A busy machine takes minutes; no request is held that long.
SECONDS = 600.0
#: Resident, of the process.
MEGABYTES = 1024
#: The machine's cores are for training.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

log = structlog.get_logger(__name__)


class RenderingFailed(Exception):
    """The process that draws ended without a picture, or was ended."""


class RenderingStopped(RenderingFailed):
    """Nothing is drawn any more, because this process is being stopped."""


class Renderer:
    """Starts `studies.figures`, with limits. Safe for many threads."""

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        megabytes: float = MEGABYTES,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._command = command
        self._commands = CommandRunner(
            Limits(wall_seconds=seconds, megabytes=megabytes), _ENVIRONMENT
        )

    @property
    def is_idle(self) -> bool:
        return self._commands.is_idle

    def render(self, content: bytes, *arguments: str) -> bytes:
        """What the process makes of the content, as its arguments say; raises `RenderingFailed`."""
        try:
            return self._commands.run((*self._command, *arguments), content)
        except Stopped as error:
            raise RenderingStopped("the service is being stopped") from error
        except OverLimit as error:
            log.warning("a report was not drawn", reason=str(error))
            raise RenderingFailed(f"drawing {error}") from error
        except HelperGone as error:
            log.error("a report was not drawn", reason=str(error), stderr=error.stderr)
            raise RenderingFailed(f"the process that draws {error}") from error

    def stop(self) -> None:
        """Ends what is being drawn; nothing begins any more."""
        self._commands.stop()
