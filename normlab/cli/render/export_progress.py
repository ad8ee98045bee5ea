"""How far an export is: a bar for each kind of content in a terminal, now and then a line elsewhere. On stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from normlab.client import LINE_SECONDS


class ExportProgress:
    """`with ExportProgress() as progress:`, then `begin(what, total)` and `advance()` for each kind."""

    def __init__(self, *, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description:<17}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._what, self._done, self._total = "", 0, 0
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def begin(self, what: str, total: int) -> None:
        self._what, self._done, self._total = what, 0, total
        self._bars.add_task(what, total=total)

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._bars.advance(self._bars.task_ids[-1], count)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said_at >= LINE_SECONDS:
            self._said_at = now
            self._console.print(f"{self._what}: {self._done} of {self._total}", markup=False)
