"""The queue of checks, round-robin over users.

A waiting request holds one of the few threads that answer all requests, so the number of places is limited, in
total and per user; a request without a place is refused at once. Equal questions are asked once.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

#: Of the 40 threads with which FastAPI answers all requests.
MOST_PLACES = 24

Read = Callable[[Mapping[str, Any]], Any]


class NoPlace(Exception):
    """The maximum number of requests is waiting; the message says whose."""


class NotYet(Exception):
    """There was no answer in time. `is_running`: it is being computed, and will be cached."""

    def __init__(self, *, is_running: bool) -> None:
        super().__init__()
        self.is_running = is_running


class Closed(Exception):
    """The service is being stopped."""


class _State(Enum):
    WAITING = auto()
    RUNNING = auto()
    DONE = auto()
    DROPPED = auto()


class Work:
    """A question and its outcome. `read` converts a helper's answer to the value that is returned."""

    def __init__(self, key: str, question: Mapping[str, Any], read: Read) -> None:
        self.key = key
        self.question = question
        self.read = read
        self.state = _State.WAITING
        #: Whose turn it takes.
        self.person: int | None = None
        self.value: Any = None
        self.error: Exception | None = None


@dataclass(eq=False, slots=True)
class _Place:
    """One request that waits."""

    person: int
    work: Work
    is_lost: bool = False


class CheckQueue:
    """Safe for many threads: those of requests call `ask`, those of helpers `take` and `finish`."""

    def __init__(self, *, helpers: int, places: int) -> None:
        """`places` of one person."""
        self._helpers = helpers
        self._places_of_one = places
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_paused = True
        self._places: list[_Place] = []
        #: By its key, what waits or runs.
        self._works: dict[str, Work] = {}
        #: Of each person who waits, the next turn first.
        self._lines: dict[int, deque[Work]] = {}
        self._running: list[Work] = []

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Nothing is taken until `resume`, as at first."""
        with self._changed:
            self._is_paused = True

    def resume(self) -> None:
        with self._changed:
            self._is_paused = False
            self._changed.notify_all()

    def ask(self, person: int, work: Work, seconds: float) -> Any:
        """The value of the work, or of an equal one that waits or runs; raises what the helper's side gave as its
        error, `NoPlace`, `NotYet` or `Closed`."""
        with self._changed:
            # One condition for everything (`_changed`): places, lines and states change together, and the
            # number of threads that are woken for nothing is small, since there are at most 24 places.
            place = self._enter(person, work)
            # Perhaps an equal one that was here before: then this request waits for that one's answer, and
            # its own work is dropped.
            work = place.work
            try:
                self._changed.wait_for(
                    lambda: self._is_closed or place.is_lost or work.state is _State.DONE, seconds
                )
            finally:
                self._leave(place)
            if work.state is not _State.DONE:
                self._raise_why(place)
        if work.error is not None:
            raise work.error
        return work.value

    def take(self) -> Work | None:
        """Waits for the next work; None when the queue is closed."""
        with self._changed:
            work = None
            while not self._is_closed and (work := self._next()) is None:
                self._changed.wait()
            if self._is_closed or work is None:
                return None
            work.state = _State.RUNNING
            self._running.append(work)
            return work

    def finish(self, work: Work, value: Any = None, error: Exception | None = None) -> None:
        """Gives its value or its error to all who wait for it."""
        with self._changed:
            work.value, work.error, work.state = value, error, _State.DONE
            self._running.remove(work)
            del self._works[work.key]
            self._changed.notify_all()

    def _enter(self, person: int, work: Work) -> _Place:
        if self._is_closed:
            raise Closed
        self._make_room(person)
        work = self._works.setdefault(work.key, work)
        place = _Place(person, work)
        self._places.append(place)
        # Also where the work is in another person's line: it runs at whichever turn comes first. `_next`
        # skips it in the other line, where it is no longer waiting.
        line = self._lines.setdefault(person, deque())
        if work.state is _State.WAITING and work not in line:
            line.append(work)
            self._changed.notify_all()
        return place

    def _make_room(self, person: int) -> None:
        """The person with most places loses the newest to one with fewer; raises `NoPlace`."""
        counts = Counter(place.person for place in self._places if not place.is_lost)
        if counts[person] >= self._places_of_one:
            raise NoPlace(f"{counts[person]} of your requests are already waiting for checks")
        if counts.total() < MOST_PLACES:
            return
        busiest, most = counts.most_common(1)[0]
        # Taking a place from somebody who has only one more would merely swap the two, and the next request
        # would swap them back.
        if most <= counts[person] + 1:
            raise NoPlace(f"{counts.total()} requests are already waiting for checks")
        # The newest has waited least, so least is lost; the older ones keep their turns.
        newest = [one for one in self._places if one.person == busiest and not one.is_lost][-1]
        newest.is_lost = True
        self._changed.notify_all()

    def _leave(self, place: _Place) -> None:
        self._places.remove(place)
        work = place.work
        # Nobody waits for it any more: it need not be computed. One that already runs goes on, since its
        # answer is kept and the request will come again.
        if work.state is _State.WAITING and all(one.work is not work for one in self._places):
            work.state = _State.DROPPED
            del self._works[work.key]

    def _raise_why(self, place: _Place) -> None:
        if self._is_closed:
            raise Closed
        if place.is_lost:
            raise NoPlace("users with fewer waiting requests go first")
        raise NotYet(is_running=place.work.state is _State.RUNNING)

    def _next(self) -> Work | None:
        """The next work of the first user who may have a helper; the user goes to the end of the round."""
        if self._is_paused:
            return None
        # A dictionary keeps the order of insertion, so it serves as the round: the first person is taken out
        # and put back at the end. A copy, because of that.
        for person, line in list(self._lines.items()):
            while line and line[0].state is not _State.WAITING:
                line.popleft()
            if line and not self._may_run(person):
                continue
            del self._lines[person]
            if line:
                work = line.popleft()
                work.person = person
                self._lines[person] = line
                return work
        return None

    def _may_run(self, person: int) -> bool:
        """The last free helper is for people for whom none works."""
        free = self._helpers - len(self._running)
        # One person's slow checks may take all helpers but one; a newcomer's quick one then needs not wait
        # for any of them. With a single helper there is nothing to reserve.
        return self._helpers == 1 or free > 1 or all(one.person != person for one in self._running)
