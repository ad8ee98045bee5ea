"""When waiting jobs will start, judged by what running ones have left and by what others of their studies took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Turn:
    """A job in the queue: the kind of device that it needs (None: any), how many, and its seconds on them (None:
    nothing tells). `held_back`: the person whose limit it waits for."""

    kind: str | None
    devices: int
    seconds: float | None
    held_back: str | None = None


def expect_starts(
    queue: Sequence[Turn],
    slots: Mapping[str, Sequence[float]],
    allowances: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> list[float | None]:
    """Seconds until each of the queue starts, as if nothing else came; None where nothing tells.

    `slots`: by kind of device, the seconds until each slot is free, of those of which it is known. Of others nothing
    is expected, so that what is said is late rather than early. `allowances`: the same of people who have reached a
    limit, for each job that they may have at once.
    """
    free = {kind: list(seconds) for kind, seconds in slots.items()}
    allowed = {person: list(seconds) for person, seconds in allowances.items()}
    for seconds in (*free.values(), *allowed.values()):
        heapify(seconds)
    starts: list[float | None] = []
    for turn in queue:
        kinds = [kind for kind in free if turn.kind in (None, kind) and free[kind]]
        own = allowed.get(turn.held_back) if turn.held_back else None
        if not kinds or own == []:
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
            if own is not None:
                start = max(start, heappop(own))
            starts.append(start)
            if turn.seconds is not None:
                heappush(free[kind], start + turn.seconds)
                if own is not None:
                    heappush(own, start + turn.seconds)
    return starts


def expect_end(
    queue: Sequence[Turn], own: Sequence[Turn], slots: Mapping[str, Sequence[float]], others: int
) -> float | None:
    """Seconds until the last of one's own jobs has ended, with today's queue; None where nothing tells.

    Not later than behind all that waits now, nor than by sharing the slots evenly with the `others` who wait.
    """
    starts = expect_starts([*queue, *own], slots)[len(queue) :]
    ends = [
        start + turn.seconds
        for start, turn in zip(starts, own, strict=True)
        if start is not None and turn.seconds is not None
    ]
    if len(ends) < len(own):
        return None
    if not ends:
        return 0.0
    seconds = [turn.seconds for turn in own if turn.seconds is not None]
    count = sum(len(free) for free in slots.values()) or 1
    soonest = min((one for free in slots.values() for one in free), default=0.0)
    shared = soonest + sum(seconds) * (others + 1) / min(count, len(own))
    return min(max(ends), max(shared, soonest + max(seconds)))
