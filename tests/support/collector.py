"""What a collector of traces has received: OTLP over real HTTP, decoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.receiver import Receiver

ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it came, of the process that `service` names; ids in hex, `parent` empty of a root."""

    service: str
    trace: str
    id: str
    parent: str
    name: str
    attributes: Mapping[str, Any]
    is_error: bool
    events: tuple[str, ...]
    nanoseconds: int


def received(collector: Receiver, trace: str | None = None) -> list[Received]:
    """All spans so far, or those of one trace."""
    spans = [
        Received(
            service=_attributes(resource.resource.attributes)["service.name"],
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            name=span.name,
            attributes=_attributes(span.attributes),
            is_error=span.status.code == Status.STATUS_CODE_ERROR,
            events=tuple(event.name for event in span.events),
            nanoseconds=span.end_time_unix_nano - span.start_time_unix_nano,
        )
        for _, _, body in list(collector.seen)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return [span for span in spans if trace in (None, span.trace)]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _read(pair.value) for pair in pairs}


def _read(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_read(one) for one in value.array_value.values]
    return getattr(value, str(kind))
