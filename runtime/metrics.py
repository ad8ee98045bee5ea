"""What each process of the service tells a monitoring system about itself, in Prometheus' words."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, TypeAlias

import structlog
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    Info,
    ProcessCollector,
    Summary,
    start_http_server,
)
from pydantic import BeforeValidator, Field

#: Where a process hands out its metrics: `127.0.0.1:9101`. Nothing: nowhere; docker compose sets a variable that isn't
#: in `.env` to nothing.
MetricsAddress: TypeAlias = Annotated[
    Annotated[str, Field(pattern=r"^[^/@\s]+:\d{1,5}$")] | None,
    BeforeValidator(lambda value: value or None),
    Field(description="host and port for Prometheus, without a password: for a private network"),
]

log = structlog.get_logger(__name__)


def make_registry(process: str) -> CollectorRegistry:
    """With the memory, CPU time and open files of this process, and which build of Normlab it runs."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    build = Info("normlab_build", "The build of Normlab that the process runs.", registry=registry)
    build.info(
        {
            "version": _own_version(),
            "process": process,
            "python": platform.python_version(),
        }
    )
    return registry


def serve(registry: CollectorRegistry, address: str | None) -> None:
    """In a thread, until the process ends. A port that is taken is no reason to do without the process."""
    if address is None:
        return
    host, _, port = address.rpartition(":")
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), registry)
    except (OSError, OverflowError) as error:
        log.warning("metrics are not handed out", address=address, error=str(error))
    else:
        # A child that outlives its parent would keep the port from the next one.
        os.register_at_fork(after_in_child=server.socket.close)
        log.info("metrics are handed out", address=address)


class Rounds:
    """What a loop does again and again: how long it took, and when it last came to its end."""

    def __init__(self, registry: CollectorRegistry, name: str) -> None:
        self._seconds = Summary(
            f"normlab_{name}_duration_seconds", "Time that a round took.", registry=registry
        )
        self._last = Gauge(
            f"normlab_{name}_last_timestamp_seconds",
            "When a round last came to its end; 0: not yet.",
            registry=registry,
        )

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around one of them; one that fails doesn't count."""
        started = time.perf_counter()
        yield
        self._seconds.observe(time.perf_counter() - started)
        self._last.set_to_current_time()


def _own_version() -> str:
    try:
        return version("normlab")
    except PackageNotFoundError:  # A checkout that was not installed.
        return "unknown"
