"""What a process tells of its work. Without a collector to send it to, nothing is recorded and no library is loaded."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

Attribute: TypeAlias = str | int | float | bool | Sequence[str]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """A moment within a span."""

    name: str
    at: datetime
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended; `parent`: the context that it belongs to; `context`: its own, where other spans name it;
    `error`: why it failed, in a word."""

    name: str
    parent: str
    started_at: datetime
    ended_at: datetime
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    context: str | None = None
    error: str | None = None
    events: Sequence[SpanEvent] = ()


class OpenSpan(Protocol):
    """One that has begun."""

    @property
    def context(self) -> str:
        """What others name it by."""
        ...

    def end(
        self, name: str, attributes: Mapping[str, Attribute], error: str | None = None
    ) -> None: ...


class Traces(Protocol):
    """Where spans go. None of it waits for the collector, but `close` for two seconds at most."""

    def begin(self, name: str, headers: Mapping[str, str]) -> OpenSpan:
        """Of a request, in the caller's trace if its headers name one."""
        ...

    def record(self, span: Span) -> None: ...

    def close(self) -> None:
        """Sends what is left. Nothing may be recorded afterwards."""
        ...


class _NoTraces:
    def begin(self, name: str, headers: Mapping[str, str]) -> OpenSpan:
        raise AssertionError("no request is traced")

    def record(self, span: Span) -> None:
        pass

    def close(self) -> None:
        pass


#: Of a process that nobody has given a collector.
NO_TRACES: Traces = _NoTraces()


def make_traces(process: str) -> Traces:
    """As the environment says in OpenTelemetry's own variables; `process`: `api`, `worker`, …

    It starts a thread: a process that forks calls it afterwards, in the child. Raises SystemExit as `prepare_traces`.
    """
    if not prepare_traces():
        return NO_TRACES
    from runtime.tracing.sending import SentTraces

    return SentTraces(process)


def prepare_traces() -> bool:
    """Whether there are to be traces; then what sends them is loaded, so that forked children need not.

    Raises SystemExit, with what to do, where that is not possible.
    """
    endpoint = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if endpoint is None or is_off or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    for name in _PROTOCOLS:
        if os.environ.get(name, _PROTOCOL) not in ("", _PROTOCOL):
            raise SystemExit(
                f"{name} is {os.environ[name]}, but traces are sent by {_PROTOCOL} only: unset it, and name the "
                f"collector's port for OTLP over HTTP (4318) in {endpoint}"
            )
    try:
        import runtime.tracing.sending  # noqa: F401
    except ImportError as error:
        raise SystemExit(
            f"{endpoint} is set, but what sends traces is not installed ({error}): pip install 'normlab[otel]', or unset "
            "the variable"
        ) from None
    return True


@contextmanager
def traced(
    traces: Traces, name: str, parent: str | None, **attributes: Attribute
) -> Iterator[dict[str, Attribute]]:
    """A span of what is done inside, which may add to its attributes; none without a parent."""
    added: dict[str, Attribute] = {f"normlab.{key}": value for key, value in attributes.items()}
    started_at, failed = datetime.now(UTC), None
    try:
        yield added
    except BaseException as error:
        failed = type(error).__name__
        raise
    finally:
        if parent is not None:
            traces.record(Span(name, parent, started_at, datetime.now(UTC), added, error=failed))
