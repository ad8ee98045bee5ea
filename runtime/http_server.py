"""`python -m runtime.http_server APP OPTIONS`: uvicorn's command, with a server that sleeps while it is idle.

uvicorn's own wakes ten times a second to see whether it should end; this one is told, and wakes once a second
for the date in its answers.
"""

import asyncio
import sys
from types import FrameType

import uvicorn

from runtime.termination import call_at_end

#: uvicorn's count of turns in a second: at each tenth it renews the date.
_TURNS = 10


class QuietServer(uvicorn.Server):
    """Ends as soon as a signal asks it to."""

    _ends: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Until it should end."""
        self._ends, self._loop = asyncio.Event(), asyncio.get_running_loop()
        while not await self.on_tick(_TURNS):
            try:
                await asyncio.wait_for(self._ends.wait(), 1.0)
            except TimeoutError:
                continue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._ends is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._ends.set)
        call_at_end()


def main(options: list[str]) -> None:
    # The function of this name hides the module in the package.
    module = sys.modules[uvicorn.main.callback.__module__]
    module.Server = QuietServer  # type: ignore[attr-defined]
    uvicorn.main(options, prog_name="uvicorn")


if __name__ == "__main__":
    main(sys.argv[1:])
