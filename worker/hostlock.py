"""One worker per host name: a lock on a file, held by the parent and, through the fork, its children."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


@contextmanager
def hold_host(storage: Path, host: str, patience_seconds: float) -> Iterator[None]:
    """The lock ends with the last process that inherited it: who gets it knows that none is left.

    Children of a killed parent end within a second, those of a draining one within some more.
    Raises SystemExit when another worker keeps it.
    """
    folder = storage / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{host}.lock").open("w") as file:
        _lock(file.fileno(), host, time.monotonic() + patience_seconds)
        yield


def _lock(descriptor: int, host: str, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise SystemExit(
                    f"another worker runs as host {host!r}: stop it, or set NORMLAB_HOST_NAME"
                ) from None
            log.info("waiting for another worker of this host to end", host=host)
            time.sleep(0.5)
        else:
            return
