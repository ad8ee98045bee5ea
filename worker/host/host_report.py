"""What a worker's parent says of its host again and again: that it lives, its room, its clock, the memory of its GPUs."""

import time
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.orm import Session

from store.db import database_now
from store.hosts import GpuMemory, gpu_memory, host_health
from worker.execution import Space
from worker.host.gpus import GpuWatch

log = structlog.get_logger(__name__)

#: Of a GPU's memory: less makes room for no job.
FREED_BYTES = 256 * 2**20


class HostReport:
    """Remembers what it has logged, so that a state is logged when it begins and when it ends."""

    def __init__(
        self,
        host: str,
        space: Space,
        instance: str | None = None,
        wall_clock: Callable[[], float] = time.time,
        gpus: GpuWatch | None = None,
    ) -> None:
        self._host = host
        self._instance = instance
        self._space = space
        self._wall_clock = wall_clock
        self._gpus = gpus
        self._was_short = self._was_off = False
        # Of each GPU, since others have last freed any.
        self._most_used: dict[int, int] = {}

    def send(self, session: Session) -> bool:
        """True if the host may acquire jobs again, or others have freed memory of its GPUs: it needs a wake-up then."""
        memory = () if self._gpus is None else self._gpus.read()
        shortage = self._space.shortage()
        ahead = measure_clock(session, self._wall_clock)
        has_room_again = host_health.report(session, self._host, shortage, ahead, self._instance)
        gpu_memory.report(session, self._host, memory, self._instance)
        if shortage is not None and not self._was_short:
            log.warning("this host takes no jobs", host=self._host, reason=shortage.detail)
        elif shortage is None and self._was_short:
            log.info("this host has room again", host=self._host)
        if host_health.is_off(ahead) and not self._was_off:
            log.warning(
                host_health.clock_sentence(ahead), host=self._host, ahead_seconds=round(ahead, 1)
            )
        self._was_short, self._was_off = shortage is not None, host_health.is_off(ahead)
        return self._have_others_freed(memory) or has_room_again

    def _have_others_freed(self, gpus: Sequence[GpuMemory]) -> bool:
        """So much of any GPU that a job may fit which didn't."""
        have_freed = False
        for one in gpus:
            # Where the host can't tell, what ended jobs have freed is among it: they wake the host, too.
            used = one.used_bytes - (one.own_bytes or 0)
            if self._most_used.get(one.number, 0) - used >= FREED_BYTES:
                have_freed, self._most_used[one.number] = True, used
            self._most_used[one.number] = max(used, self._most_used.get(one.number, 0))
        return have_freed


def measure_clock(session: Session, wall_clock: Callable[[], float] = time.time) -> float:
    """Seconds that this host's clock is ahead of the database's, at least: what the question itself took
    is given to the clock."""
    before = wall_clock()
    now = database_now(session).timestamp()
    after = wall_clock()
    if before <= now <= after:
        return 0.0
    return before - now if before > now else after - now
