"""Wake-ups: messages that make a host check the queue in SQL. They carry no job, and losing one loses nothing."""

import random
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog
from celery import Celery
from sqlalchemy.orm import Session, sessionmaker

from store.db import DATABASE_AWAY
from store.hosts import Room, find_rooms
from store.jobs import leases, queue

log = structlog.get_logger(__name__)

QUEUE = "normlab.{host}"
TASK = "normlab.work"
#: Between two rounds: submissions that come faster are looked at together.
PAUSE_SECONDS = 0.05
#: A hanging broker must not delay the process that has just accepted a job.
SOCKET_SECONDS = 0.5


def make_celery(redis_url: str) -> Celery:
    """A producer that tries once and gives up soon. Also takes redis-py's `unix://` URLs."""
    url = redis_url.replace("unix://", "redis+socket://", 1)
    celery = Celery("normlab", broker=url, backend=None, set_as_current=False)
    celery.conf.update(
        broker_connection_timeout=SOCKET_SECONDS,
        broker_connection_retry=False,
        broker_connection_max_retries=0,
        # One thread sends (`Waker`), and a connection that is kept spares every wake-up a handshake.
        broker_pool_limit=1,
        broker_transport_options={
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
            "retry_on_timeout": False,
            "health_check_interval": 0,
            "max_retries": 0,
        },
        task_ignore_result=True,
        task_publish_retry=False,
    )
    return celery


def due(session: Session) -> dict[str, int]:
    """How many wake-ups each host should get: a runnable job that fits and a free slot for each, of a GPU whose memory is
    measured also memory for any one of them.

    Jobs that need one kind of device come first; those that may run anywhere take what is left.
    """
    wakeups: dict[str, int] = {}
    # In another order each time: a host that can do nothing with its wake-up (it has lost its broker, or the
    # job needs more devices than it has free) would else keep it from the others for ever.
    free = list(leases.free_slots(session).items())
    # Usually all are busy where there is a queue, and then its length, which takes longer to find, is of no use.
    if not any(count > 0 for _, slots in free for count in slots.values()):
        return wakeups
    random.shuffle(free)
    if any(slots.get("cuda", 0) > 0 for _, slots in free):
        _leave_out_full(session, free)
    demand = queue.demand(session, _sum_by_kind(slots for _, slots in free))
    for kind in ("cuda", "cpu"):
        for host, slots in free:
            _take(demand, kind, slots, kind, host, wakeups)
    for kind in ("cuda", "cpu"):
        for host, slots in free:
            _take(demand, None, slots, kind, host, wakeups)
    return wakeups


def _leave_out_full(session: Session, free: Iterable[tuple[str, dict[str, int]]]) -> None:
    """Of GPUs whose memory is measured as many slots as there are jobs that fit into what is free."""
    rooms = find_rooms(session)
    for host, slots in free:
        # What jobs can only wait for starts nothing now.
        now = replace(rooms.get(host, Room(())), awaiting=frozenset()).counts().get("cuda")
        if now is not None and now.memory:
            slots["cuda"] = queue.count_fitting(session, now, host, slots["cuda"])


def send(celery: Celery, due: Mapping[str, int]) -> int:
    """Send those that aren't in their host's queue yet, and return how many were sent.

    Never raises; a broken broker costs about a second. A wake-up that is already in the queue was sent for an
    earlier job but serves as well: the host checks the table after it has received it. So a host that receives
    none does not accumulate them, and none needs an expiry, which Celery would judge by that host's clock.
    """
    sent = 0
    for host, count in due.items():
        try:
            with celery.producer_or_acquire() as producer:
                queue_name = QUEUE.format(host=host)
                for _ in range(count - producer.channel.client.llen(queue_name)):
                    celery.send_task(TASK, queue=queue_name, retry=False, producer=producer)
                    sent += 1
        except Exception as error:
            # Whatever the broker does: the job is accepted, and the sweep tries again. No
            # traceback: one for every request would bury the log while Redis is away.
            log.warning("wake-ups could not be sent", host=host, sent=sent, error=repr(error))
            return sent
    return sent


def _sum_by_kind(free: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for slots in free:
        for kind, count in slots.items():
            sums[kind] = sums.get(kind, 0) + count
    return sums


def _take(
    demand: dict[str | None, int],
    need: str | None,
    slots: dict[str, int],
    kind: str,
    host: str,
    wakeups: dict[str, int],
) -> None:
    """Give the host's free slots of a kind to jobs of a need."""
    count = min(demand.get(need, 0), slots.get(kind, 0))
    if count > 0:
        demand[need] -= count
        slots[kind] -= count
        wakeups[host] = wakeups.get(host, 0) + count


class Waker:
    """Sends the wake-ups that are due, in a separate thread, so that a hanging broker delays no request.

    `wake` returns at once; what was asked for while one is being sent is sent together after it. The sweep sends what
    could not be sent here.
    """

    def __init__(self, sessions: sessionmaker[Session], celery: Celery) -> None:
        self._sessions = sessions
        self._celery = celery
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something became free or runnable: to be called after the commit."""
        self._asked.set()

    def close(self) -> None:
        """Sends what is still due, for a moment at most."""
        self._closing.set()
        self._asked.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            self._asked.wait()
            # Cleared before the rows are read: what is committed while they are read sets it again and gets a
            # round of its own. Cleared afterwards, such a wake-up would be lost until the next sweep.
            self._asked.clear()
            self._send()
            if self._closing.wait(PAUSE_SECONDS) and not self._asked.is_set():
                return

    def _send(self) -> None:
        try:
            with self._sessions.begin() as session:
                found = due(session)
            if found:
                send(self._celery, found)
        except Exception as error:  # This thread must outlive whatever it is.
            unforeseen = None if isinstance(error, DATABASE_AWAY) else error
            log.warning("wake-ups could not be sent", error=str(error), exc_info=unforeseen)
