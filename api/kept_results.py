"""What pages show of a study's results, kept until one of its jobs changes: to read a thousand jobs and compare them
takes seconds."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeAlias

from store.db import Changes

#: Of so many studies, those that were looked at last.
MOST = 32
#: A verdict is small: those of the first pages of the list.
MOST_VERDICTS = 250
#: Though nothing was heard: a connection may be dead without anybody's notice.
LONGEST_SECONDS = 30.0
#: Studies whose results are made at the same time.
THREADS = 2
#: A thread that computes holds the interpreter for so long after another has asked for it; by default ten times as
#: long, for which a request would wait after each of its queries.
SWITCH_SECONDS = 0.0005

#: Returns what is shown, and the jobs that it is made of.
Make: TypeAlias = Callable[[], tuple[Mapping[str, Any], Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was made of a study's results as they were at `mark`, and of which jobs."""

    content: Mapping[str, Any]
    jobs: frozenset[int]
    mark: str
    made_at: float


@dataclass(frozen=True, slots=True)
class Found:
    """None where nothing has been made yet; `is_late`: newer results are being made."""

    content: Mapping[str, Any] | None
    is_late: bool


class KeptResults:
    """Safe for many threads; what many want of a study at the same time is made once for all, by a thread of its own."""

    def __init__(self, changes: Changes, most: int = MOST) -> None:
        self._changes = changes
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._making: dict[int, Future[Kept]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="results")

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def read(self, study_id: int, make: Make) -> Mapping[str, Any]:
        """With everything that was committed before this call; raises what `make` raises."""
        future, has_all = self._begin(study_id, make)
        if has_all or self._is_current(future.result()):
            return future.result().content
        # Whoever begins now, begins after this call.
        future, _ = self._begin(study_id, make)
        return future.result().content

    def find(self, study_id: int, make: Make, *, seconds: float, first_seconds: float) -> Found:
        """As `read`, but where that takes longer than `seconds`: as it was before; or, where there is nothing from
        before, after `first_seconds`: nothing."""
        with self._lock:
            older = self._kept.get(study_id)
        future, has_all = self._begin(study_id, make)
        done, _ = wait([future], seconds if older else first_seconds)
        if not done:
            return Found(older.content if older else None, is_late=True)
        kept = future.result()
        return Found(kept.content, is_late=not (has_all or self._is_current(kept)))

    def _begin(self, study_id: int, make: Make) -> tuple[Future[Kept], bool]:
        """What is kept or being made of the study; true where that has all that was committed before this call."""
        with self._lock:
            kept = self._kept.get(study_id)
            if kept is not None and self._is_current(kept):
                self._kept.move_to_end(study_id)
                future = Future[Kept]()
                future.set_result(kept)
                return future, True
            if (making := self._making.get(study_id)) is not None:
                return making, False
            future = self._making[study_id] = self._threads.submit(self._make, study_id, make)
            return future, True

    def _make(self, study_id: int, make: Make) -> Kept:
        try:
            # What changes while it is made may or may not be in it.
            mark = self._changes.mark
            content, jobs = make()
            kept = Kept(content, frozenset(jobs), mark, time.monotonic())
            with self._lock:
                self._kept[study_id] = kept
                self._kept.move_to_end(study_id)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            return kept
        finally:
            with self._lock:
                del self._making[study_id]

    def _is_current(self, kept: Kept) -> bool:
        if time.monotonic() - kept.made_at > LONGEST_SECONDS:
            return False
        news = self._changes.since(kept.mark)
        return news is None or (news.jobs is not None and kept.jobs.isdisjoint(news.jobs))
