"""What failed by itself and when it is tried again: later each time. Knows not what it was."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_PAUSE_SECONDS = 300.0


@dataclass(slots=True)
class Retries:
    """What failed by itself, and when it is tried again; forgotten with the process."""

    clock: Callable[[], float] = time.monotonic
    _failures: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._failures)

    def resting(self, kind: str) -> list[int]:
        """Ids of this kind whose time has not come."""
        now = self.clock()
        return [one for (of, one), (_, at) in self._failures.items() if of == kind and at > now]

    def failed(self, kind: str, one: int, *, at_once: bool) -> float:
        """Notes a failure; the answer is the pause in seconds. `at_once` holds for the first only."""
        count = self._failures.get((kind, one), (0, 0.0))[0] + 1
        pause = min(LONGEST_PAUSE_SECONDS, 5.0 * 2.0 ** min(count - 1, 10))
        if at_once and count == 1:
            pause = 0.0
        self._failures[kind, one] = (count, self.clock() + pause)
        return pause

    def succeeded(self, kind: str, one: int) -> None:
        self._failures.pop((kind, one), None)
