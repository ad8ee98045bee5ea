"""What pages show of a study's results, kept until one of its jobs changes: to read a thousand jobs and compare them
takes seconds."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from store.db import Changes

#: Of so many studies, those that were looked at last.
MOST = 32
#: A verdict is small: those of the first pages of the list.
MOST_VERDICTS = 250
#: Though nothing was heard: a connection may be dead without anybody's notice.
LONGEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What was made of a study's results as they were at `mark`, and of which jobs."""

    content: Mapping[str, Any]
    jobs: frozenset[int]
    mark: str
    made_at: float


class KeptResults:
    """Safe for many threads; of those that want the same study at the same time, one makes its results for all."""

    def __init__(self, changes: Changes, most: int = MOST) -> None:
        self._changes = changes
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        #: Of each study whose results are being made; gone once nobody waits for them.
        self._making: WeakValueDictionary[int, threading.Lock] = WeakValueDictionary()

    def read(
        self, study_id: int, make: Callable[[], tuple[Mapping[str, Any], Sequence[int]]]
    ) -> Mapping[str, Any]:
        """What `make` returns first; second it returns the study's jobs."""
        if (kept := self._find(study_id)) is not None:
            return kept
        with self._lock:
            making = self._making.setdefault(study_id, threading.Lock())
        with making:
            # Perhaps made by another thread meanwhile.
            if (kept := self._find(study_id)) is not None:
                return kept
            # What changes while it is made may or may not be in it.
            mark = self._changes.mark
            content, jobs = make()
            with self._lock:
                self._kept[study_id] = Kept(content, frozenset(jobs), mark, time.monotonic())
                self._kept.move_to_end(study_id)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return content

    def _find(self, study_id: int) -> Mapping[str, Any] | None:
        with self._lock:
            kept = self._kept.get(study_id)
            if kept is None or not self._is_current(kept):
                return None
            self._kept.move_to_end(study_id)
            return kept.content

    def _is_current(self, kept: Kept) -> bool:
        if time.monotonic() - kept.made_at > LONGEST_SECONDS:
            return False
        news = self._changes.since(kept.mark)
        return news is None or (news.jobs is not None and kept.jobs.isdisjoint(news.jobs))
