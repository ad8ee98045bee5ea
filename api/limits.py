"""What one person may ask of this process: requests per second, expensive ones at once, and one at a time while others ask.

All are counted in this process's memory: they hold when Redis is away, and several processes of the API each allow
as much.
"""

import asyncio
import hashlib
import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from weakref import WeakValueDictionary

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: So many secrets are remembered; one that was forgotten begins with a full bucket.
MOST_SECRETS = 10_000
#: A request that takes longer, such as an export or a stream, leaves its turn to the next one and goes on.
TURN_SECONDS = 0.25
#: A client counts as active for so long after its last request.
ACTIVE_SECONDS = 0.1
#: For so long a client's waiting requests give way to clients without any.
GIVE_WAY_SECONDS = 0.1
#: A client whose request was refused waits for as long as that took before its next one, and at most so long.
LONGEST_REST_SECONDS = 0.25
#: Of one client; further requests don't wait, so that too many are refused at once.
MOST_WAITING = 64


class Busy(Exception):
    """The maximum number of this person's expensive requests is being answered."""


class _Bucket:
    """Fills by so many requests a second, up to its size; each request takes one out."""

    def __init__(self, per_second: float, size: int, now: float) -> None:
        self._per_second = per_second
        self._size = float(size)
        self._level = self._size
        self._filled_at = now

    def take(self, now: float) -> float:
        """0, or the seconds until there is one to take."""
        if not self._per_second:
            return 0.0
        self._level = min(self._size, self._level + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._level < 1.0:
            return (1.0 - self._level) / self._per_second
        self._level -= 1.0
        return 0.0


class RequestRates:
    """A bucket for each token; the sessions of browsers share that of the token they were opened with.

    Safe for many threads.
    """

    def __init__(
        self, per_second: float, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`per_second`: 0 for no limit; `at_once`: of requests after a pause."""
        self._per_second = per_second
        self._at_once = at_once
        self._clock = clock
        self._lock = threading.Lock()
        #: By the digest of a token's or a session's secret, the one that was used last at the end.
        self._of_secret: OrderedDict[bytes, _Bucket] = OrderedDict()
        self._of_token: WeakValueDictionary[int, _Bucket] = WeakValueDictionary()

    def spend(self, secret: str) -> int:
        """Counts a request, before anybody has looked in the database whose secret this is; the whole seconds after
        which to come again, or 0. One of a secret that isn't known yet is counted by `recognize`."""
        digest = _digest(secret)
        with self._lock:
            bucket = self._of_secret.get(digest)
            if bucket is None:
                return 0
            self._of_secret.move_to_end(digest)
            return math.ceil(bucket.take(self._clock()))

    def find_token(self, secret: str) -> Hashable | None:
        """A key that is equal for a token and its sessions; None for a secret that isn't known to be valid."""
        with self._lock:
            bucket = self._of_secret.get(_digest(secret))
        return None if bucket is None else id(bucket)

    def recognize(self, secret: str, token_id: int) -> int:
        """Counts the first request of a secret that turned out to be valid; as `spend`.

        Only these are remembered: a stranger who guesses takes no memory.
        """
        digest = _digest(secret)
        with self._lock:
            if digest in self._of_secret:
                return 0
            now = self._clock()
            bucket = self._of_token.get(token_id)
            if bucket is None:
                bucket = _Bucket(self._per_second, self._at_once, now)
                self._of_token[token_id] = bucket
            self._of_secret[digest] = bucket
            if len(self._of_secret) > MOST_SECRETS:
                self._of_secret.popitem(last=False)
            return math.ceil(bucket.take(now))


class Places:
    """How many expensive requests of each person are being answered. Safe for many threads."""

    def __init__(self, most: int) -> None:
        """`most`: of one person."""
        self._most = most
        self._lock = threading.Lock()
        self._taken: Counter[int] = Counter()

    @contextmanager
    def taken(self, person: int) -> Iterator[None]:
        """While a request is answered; raises `Busy`."""
        with self._lock:
            if self._taken[person] >= self._most:
                raise Busy(
                    f"{self._most} of your requests for comparisons, exports, reports or plans are "
                    "being answered: wait for one of them"
                )
            self._taken[person] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[person] -= 1
                if not self._taken[person]:
                    del self._taken[person]


@dataclass(slots=True)
class _Turns:
    """Of one client: requests that are being answered; those that wait, with the time they came; when the last turn ended;
    until when none begins because one was refused."""

    taken: int = 0
    waiting: deque[tuple[float, asyncio.Future[None]]] = field(default_factory=deque)
    ended_at: float = 0.0
    rests_until: float = 0.0


class FairTurns:
    """ASGI middleware: while several clients are active, each has one request answered at a time.

    All share one interpreter, in which a client with a dozen connections would otherwise get a dozen times as much as one with
    a single connection. A client with requests waiting also gives way to those without, for a moment. After a request that
    was refused (4xx, 5xx) a client rests for as long as that took, so that one who sends nothing else takes half of the
    interpreter's time at most. A client that is alone waits for nothing. Safe for several event loops.
    """

    def __init__(
        self, app: ASGIApp, find_client: Callable[[Scope], Hashable], exempt: Collection[str] = ()
    ) -> None:
        """`find_client`: who sends a request, before it is known whether they may; `exempt`: paths that never wait."""
        self._app = app
        self._find_client = find_client
        self._exempt = frozenset(exempt)
        self._lock = threading.Lock()
        self._clients: dict[Hashable, _Turns] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        turns = await self._begin(self._find_client(scope))
        has_ended, is_refused = False, False
        began = time.monotonic()

        def end() -> None:
            nonlocal has_ended
            if not has_ended:
                has_ended = True
                self._end(turns)

        async def send_and_look(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                is_refused = message["status"] >= HTTPStatus.BAD_REQUEST
            await send(message)

        timer = asyncio.get_running_loop().call_later(TURN_SECONDS, end)
        try:
            await self._app(scope, receive, send_and_look)
        finally:
            timer.cancel()
            if is_refused:
                self._rest(turns, time.monotonic() - began)
            end()

    async def _begin(self, client: Hashable) -> _Turns:
        with self._lock:
            self._forget_inactive()
            turns = self._clients.setdefault(client, _Turns())
            is_free = not turns.waiting and (len(self._clients) == 1 or _may_take(turns))
            if is_free or len(turns.waiting) >= MOST_WAITING:
                turns.taken += 1
                return turns
            entry = time.monotonic(), asyncio.get_running_loop().create_future()
            turns.waiting.append(entry)
        if turns.rests_until > time.monotonic():
            self._begin_rested(turns)
        try:
            await entry[1]
        except asyncio.CancelledError:
            with self._lock:
                is_taken = entry not in turns.waiting
                if not is_taken:
                    turns.waiting.remove(entry)
            if is_taken:
                self._end(turns)
            raise
        return turns

    def _rest(self, turns: _Turns, seconds: float) -> None:
        """From now on, after a request that took so long."""
        with self._lock:
            turns.rests_until = time.monotonic() + min(seconds, LONGEST_REST_SECONDS)
            for loop in {turn.get_loop() for _, turn in turns.waiting}:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._begin_rested, turns)

    def _begin_rested(self, turns: _Turns) -> None:
        """What waits, once the client has rested; on the event loop of a request of its."""
        rest = turns.rests_until - time.monotonic()
        if rest > 0:
            asyncio.get_running_loop().call_later(rest, self._begin_rested, turns)
        else:
            self._let_all_begin()

    def _end(self, turns: _Turns) -> None:
        with self._lock:
            turns.taken -= 1
            turns.ended_at = time.monotonic()
        self._let_all_begin()

    def _let_all_begin(self) -> None:
        """Of the requests that wait those that may."""
        with self._lock:
            self._forget_inactive()
            for client in self._clients.values():
                while client.waiting and self._may_begin(client):
                    _, turn = client.waiting.popleft()
                    # The loop of a client that has gone may be closed.
                    with suppress(RuntimeError):
                        turn.get_loop().call_soon_threadsafe(_let_begin, turn)
                        client.taken += 1

    def _may_begin(self, turns: _Turns) -> bool:
        """Whether the first waiting request may begin."""
        if len(self._clients) == 1:
            return True
        if not _may_take(turns):
            return False
        if time.monotonic() - turns.waiting[0][0] >= GIVE_WAY_SECONDS:
            return True
        return not any(one.taken and not one.waiting for one in self._clients.values())

    def _forget_inactive(self) -> None:
        oldest = time.monotonic() - ACTIVE_SECONDS
        gone = [
            client
            for client, turns in self._clients.items()
            if not turns.taken
            and not turns.waiting
            and max(turns.ended_at, turns.rests_until) < oldest
        ]
        for client in gone:
            del self._clients[client]


def _may_take(turns: _Turns) -> bool:
    """Whether the client, which is not alone, may have a request answered."""
    return not turns.taken and time.monotonic() >= turns.rests_until


def _let_begin(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
