"""What keeps hosts from working, in words: for `queue` and for `status`."""

from collections.abc import Sequence
from datetime import UTC, datetime

from normlab.cli.output import Item, ago, say
from normlab.errors import NormlabError
from normlab.home import Home
from normlab.transport import Transport

#: A service that takes longer must not keep `status` waiting.
_SECONDS = 5.0
#: A host that has been silent for longer was removed or renamed.
_FORGOTTEN_SECONDS = 24 * 3600.0


def read_workers(home: Home) -> Sequence[Item] | None:
    """What the local stack's API says; None when it doesn't answer."""
    transport = Transport(home=home, timeout=_SECONDS)
    try:
        workers: Sequence[Item] = transport.get("workers")["items"]
        return workers
    except NormlabError:
        return None
    finally:
        transport.close()


def say_workers(workers: Sequence[Item] | None) -> None:
    """A line for each thing that is wrong with a host; nothing where all is well."""
    lines = [line for worker in workers or () for line in _lines(worker)]
    if lines:
        say()
    for line in lines:
        say(f"warning: {line}")


def _lines(worker: Item) -> Sequence[str]:
    if not worker["alive"]:
        # One that was stopped on purpose says so before it goes; one that is gone for good never does.
        if worker["draining"] or _silent_seconds(worker) > _FORGOTTEN_SECONDS:
            return []
        return [f"host {worker['host']} has said nothing for {ago('seen_at')(worker)}"]
    return [f"host {worker['host']}: {problem}" for problem in worker["problems"]]


def _silent_seconds(worker: Item) -> float:
    seen = datetime.fromisoformat(worker["seen_at"])
    return (datetime.now(UTC) - seen).total_seconds()
