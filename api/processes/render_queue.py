"""The queue of figures and reports that are rendered for requests, limited in number.

Rendering continues after its request has ended; a later request for the same name joins it.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from studies.rendering import Renderer, RenderingStopped

#: The machine's cores are for training.
AT_ONCE = 2
WAITING = 8
#: Finished drawings that have not been fetched yet.
MOST_FINISHED = 8


class RendererBusy(Exception):
    """The render queue is full; try again after `retry_after` seconds."""

    retry_after = 5


class Pending:
    """A drawing that is being made or waits for its turn."""

    def __init__(self, future: "Future[bytes]") -> None:
        self._future = future
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.monotonic() - self._began

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def wait(self, seconds: float) -> bytes | None:
        """None if it isn't done by then; raises `RenderingFailed`."""
        try:
            return self._future.result(timeout=seconds)
        except TimeoutError:
            return None
        except CancelledError:
            raise RenderingStopped("the service is being stopped") from None


class RenderQueue:
    """Safe for many threads. `renderer` is for what `start` calls."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="drawing")
        self._pending: dict[str, Pending] = {}

    def close(self) -> None:
        self.renderer.stop()
        self._threads.shutdown(cancel_futures=True)

    def start(self, name: str, make: Callable[[], bytes]) -> Pending:
        """Has `make` called in a thread, or joins the drawing of this name; raises `RendererBusy`."""
        with self._lock:
            if (pending := self._pending.get(name)) is not None:
                return pending
            # Finished ones don't count: their threads are free, they only wait to be fetched.
            if sum(not one.is_done for one in self._pending.values()) >= AT_ONCE + WAITING:
                raise RendererBusy(
                    f"{AT_ONCE + WAITING} figures or reports are already being rendered or waiting"
                )
            self._forget_oldest()
            pending = self._pending[name] = Pending(self._threads.submit(make))
            return pending

    def find(self, name: str) -> Pending | None:
        """The drawing of this name, if it was asked for and not fetched since."""
        with self._lock:
            return self._pending.get(name)

    def forget(self, name: str) -> None:
        """The result has been fetched; the next request for it renders it again."""
        with self._lock:
            self._pending.pop(name, None)

    def _forget_oldest(self) -> None:
        done = [name for name, one in self._pending.items() if one.is_done]
        for name in done[: max(0, len(done) - MOST_FINISHED + 1)]:
            del self._pending[name]
