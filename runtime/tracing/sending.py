"""Spans to a collector, by OpenTelemetry's SDK and OTLP over HTTP. Loaded only where there is one."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.tracing.context import span_id, trace_id
from runtime.tracing.spans import Attribute, Span

log = structlog.get_logger(__name__)

#: Where the environment says nothing: spans are sent so long after the first one, and a request to the collector may
#: take so long.
DELAY_MILLISECONDS, TIMEOUT_SECONDS = 1000, 5.0
#: A process that ends waits so long for a collector.
CLOSE_SECONDS = 2.0
#: What people have written is cut off there.
LONGEST_TEXT = 200

_PROPAGATOR = TraceContextTextMapPropagator()


class SentTraces:
    """See `runtime.tracing.Traces`. A bounded queue and a thread of its own: what it can't hold is lost."""

    def __init__(self, process: str) -> None:
        self._ids = _Ids()
        # Not the one of all libraries: what those trace is not ours to send.
        self._provider = TracerProvider(
            resource=_describe(process), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _QuietExporter(OTLPSpanExporter(timeout=_unless_given("TIMEOUT", TIMEOUT_SECONDS))),
                schedule_delay_millis=_delay(),
            )
        )
        self._tracer = self._provider.get_tracer("normlab")

    def begin(self, name: str, headers: Mapping[str, str]) -> "_RequestSpan":
        context = _PROPAGATOR.extract(headers)
        return _RequestSpan(self._tracer.start_span(name, context=context, kind=SpanKind.SERVER))

    def record(self, span: Span) -> None:
        # What isn't a context would make it the root of another trace.
        if trace_id(span.parent) is None:
            return
        parent = _PROPAGATOR.extract({"traceparent": span.parent})
        with self._ids.next(span_id(span.context)):
            sent = self._tracer.start_span(
                span.name,
                context=parent,
                attributes=_clipped(span.attributes),
                start_time=_nanoseconds(span.started_at),
            )
        for event in span.events:
            sent.add_event(event.name, _clipped(event.attributes), _nanoseconds(event.at))
        if span.error is not None:
            sent.set_status(Status(StatusCode.ERROR, _clip(span.error)))
        sent.end(_nanoseconds(span.ended_at))

    def close(self) -> None:
        # Beside this thread: a collector that takes no connection would hold the process up for longer.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _RequestSpan:
    """A span that has begun."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
        self.context = carrier["traceparent"]

    def end(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        self._span.update_name(name)
        self._span.set_attributes(_clipped(attributes))
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, _clip(error)))
        self._span.end()


class _Ids(RandomIdGenerator):
    """Random, but for the span that a thread is about to make where its id is known."""

    def __init__(self) -> None:
        self._known = threading.local()

    @contextmanager
    def next(self, number: int | None) -> Iterator[None]:
        self._known.number = number
        try:
            yield
        finally:
            self._known.number = None

    def generate_span_id(self) -> int:
        return getattr(self._known, "number", None) or super().generate_span_id()


class _QuietExporter(SpanExporter):
    """Says once that the collector is away, and once that it is back, in place of a line for each try."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._is_away = False
        self._said = _listen()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._said.text = ""
        result = self._exporter.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            log.warning(
                "traces can't be sent: spans are lost until they can", error=self._said.text
            )
        elif self._is_away and not is_away:
            log.info("traces are sent again")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class _FirstWords(logging.Handler):
    """Keeps what the exporter said first; the last line names no reason. The rest of the SDK is not asked: that a queue is
    full follows from it."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry.exporter"):
            self.text = self.text or record.getMessage()[:300]


def _listen() -> _FirstWords:
    logger = logging.getLogger("opentelemetry")
    handler = next((one for one in logger.handlers if isinstance(one, _FirstWords)), _FirstWords())
    logger.addHandler(handler)
    logger.propagate = False
    return handler


def _describe(process: str) -> Resource:
    try:
        build = version("normlab")
    except PackageNotFoundError:  # A checkout that was not installed.
        build = "unknown"
    own = Resource({"service.namespace": "normlab", "service.version": build})
    # What the environment names counts.
    described = own.merge(Resource.create())
    if not str(described.attributes["service.name"]).startswith("unknown_service"):
        return described
    return described.merge(Resource({"service.name": f"normlab-{process}"}))


def _unless_given(name: str, default: float) -> float | None:
    """None: the exporter reads the environment."""
    names = (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}")
    return None if any(os.environ.get(one) for one in names) else default


def _delay() -> int | None:
    return None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else DELAY_MILLISECONDS


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1000


def _clipped(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {
        key: _clip(value) if isinstance(value, str) else value for key, value in attributes.items()
    }


def _clip(text: str) -> str:
    return text[:LONGEST_TEXT]
