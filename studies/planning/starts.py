"""When waiting jobs will start, judged by what running ones have left and by what others of their studies took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush


@dataclass(frozen=True, slots=True)
class Turn:
    """A job in the queue: the kind of device that it needs (None: any), how many, and its seconds on them (None:
    nothing tells)."""

    kind: str | None
    devices: int
    seconds: float | None


def expect_starts(
    queue: Sequence[Turn], slots: Mapping[str, Sequence[float]]
) -> list[float | None]:
    """Seconds until each of the queue starts, as if nothing else came; None where nothing tells.

    `slots`: by kind of device, the seconds until each slot is free, of those of which it is known. Of others nothing
    is expected, so that what is said is late rather than early.
    """
    free = {kind: list(seconds) for kind, seconds in slots.items()}
    for seconds in free.values():
        heapify(seconds)
    starts: list[float | None] = []
    for turn in queue:
        kinds = [kind for kind in free if turn.kind in (None, kind) and free[kind]]
        if not kinds:
            starts.append(None)
        elif turn.devices > 1:
            # Several devices of one host at once: which slots it will take, and when, isn't told by each alone.
            starts.append(None)
            for kind in kinds:
                free[kind].clear()
        else:
            # Where both are free a GPU is taken first, as by `store.jobs.acquire`.
            kind = min(kinds, key=lambda one: (free[one][0], one == "cpu"))
            start = heappop(free[kind])
            starts.append(start)
            if turn.seconds is not None:
                heappush(free[kind], start + turn.seconds)
    return starts
