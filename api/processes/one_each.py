"""One place for each person: of what a page asks for again and again, one request at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from api.processes.spec_checker import CheckerUnavailable


class OneEach:
    """Safe for many threads and for tasks of an event loop; counts within this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._people: set[int] = set()

    @contextmanager
    def held_by(self, person: int) -> Iterator[None]:
        """Raises `CheckerUnavailable` where the person's request before is not answered yet."""
        with self._lock:
            if person in self._people:
                raise CheckerUnavailable(
                    "the check is busy: another document of yours is being checked", retry_after=2
                )
            self._people.add(person)
        try:
            yield
        finally:
            with self._lock:
                self._people.remove(person)
