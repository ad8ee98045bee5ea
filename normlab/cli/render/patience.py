"""A progress line on stderr while the service works, so that a pipe gets the result alone."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from normlab.cli.render.output import duration
from normlab.client import LINE_SECONDS


class Patience:
    """`with Patience("drawing the figures") as wait:`, then `wait()` each time that it isn't done: a line
    with the elapsed time, redrawn in a terminal, now and then a new one elsewhere. Nothing before the first.
    `wait("decoding")` says what is being done from then on."""

    def __init__(self, doing: str, *, console: Console | None = None) -> None:
        self._doing = doing
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._status = self._console.status("") if self._console.is_terminal else None
        self._last_line: float | None = None

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, doing: str | None = None) -> None:
        self._doing = doing or self._doing
        now = time.monotonic()
        # As Text: brackets in it are no markup.
        said = Text(f"{self._doing} … {duration(now - self._began)}")
        if self._status is not None:
            self._status.update(said)
            self._status.start()
        elif self._last_line is None or now - self._last_line >= LINE_SECONDS:
            self._console.print(said)
            self._last_line = now
