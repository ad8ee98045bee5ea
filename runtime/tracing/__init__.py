"""Traces, as an option: what happens to a job, from its request to its verdict, as OpenTelemetry's spans."""

from runtime.tracing.context import attempt_context, current_context, trace_id
from runtime.tracing.spans import (
    NO_TRACES,
    Attribute,
    OpenSpan,
    Span,
    SpanEvent,
    Traces,
    make_traces,
    prepare_traces,
    traced,
)

__all__ = [
    "NO_TRACES",
    "Attribute",
    "OpenSpan",
    "Span",
    "SpanEvent",
    "Traces",
    "attempt_context",
    "current_context",
    "make_traces",
    "prepare_traces",
    "trace_id",
    "traced",
]
