"""Spans are sent by OTLP to whom the environment names, also by forked processes, and never at anybody's expense."""

import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from runtime.tracing import NO_TRACES, Span, attempt_context, make_traces, trace_id
from tests.support.collector import ENDPOINT, received
from tests.support.receiver import Receiver, receiver  # noqa: F401 - a fixture
from tests.support.waiting import free_port

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = "0af7651916cd43dd8448eb211c80319c"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(
    receiver: Receiver,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Receiver:
    monkeypatch.setenv(ENDPOINT, receiver.url)
    # A busy machine takes longer to connect than a process waits that ends.
    monkeypatch.setattr("runtime.tracing.sending.CLOSE_SECONDS", 60.0)
    return receiver


def span(name: str, **more: object) -> Span:
    return Span(name, CALLER, NOW, NOW + timedelta(seconds=2), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "variables",
    [{}, {ENDPOINT: ""}, {ENDPOINT: "http://x", "OTEL_SDK_DISABLED": "true"}],
)
def test_without_a_collector_nothing_is_recorded(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert make_traces("api") is NO_TRACES


def test_a_missing_package_is_named_at_the_start(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "runtime.tracing.sending", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SystemExit, match=r"pip install 'normlab\[otel\]'"):
        make_traces("api")


def test_a_protocol_that_is_not_spoken_is_named_at_the_start(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SystemExit, match="OTEL_EXPORTER_OTLP_PROTOCOL is grpc"):
        make_traces("api")


def test_a_request_continues_its_callers_trace(collector: Receiver) -> None:
    traces = make_traces("api")
    continued = traces.begin("POST", {"traceparent": CALLER})
    malformed = traces.begin("POST", {"traceparent": CALLER.replace("-", "_")})
    continued.end("POST /jobs", {"http.route": "/jobs"})
    malformed.end("POST /studies", {}, error="503")
    traces.close()
    first, second = received(collector)
    assert (first.trace, first.parent, first.name) == (TRACE, CALLER[36:52], "POST /jobs")
    assert first.service == "normlab-api"
    assert continued.context.startswith(f"00-{TRACE}-{first.id}-")
    assert (second.parent, second.is_error) == ("", True)
    assert second.trace not in (TRACE, "")


def test_an_attempt_has_the_same_place_whoever_tells_of_it(collector: Receiver) -> None:
    context = attempt_context(CALLER, 7, 2)
    assert trace_id(context) == TRACE
    assert context not in (attempt_context(CALLER, 7, 1), attempt_context(CALLER, 72, 2))
    assert attempt_context("nonsense", 7, 2) is None
    traces = make_traces("worker")
    traces.record(span("attempt", context=context, error="lost", attributes={"text": "x" * 999}))
    traces.record(Span("train", str(context), NOW, NOW))
    traces.close()
    attempt, train = received(collector, TRACE)
    assert (attempt.parent, attempt.is_error) == (CALLER[36:52], True)
    assert attempt.nanoseconds == 2_000_000_000
    assert len(attempt.attributes["text"]) == 200
    assert train.parent == attempt.id == str(context)[36:52]


def test_a_caller_who_is_not_sampled_makes_no_spans(collector: Receiver) -> None:
    traces = make_traces("api")
    request = traces.begin("POST", {"traceparent": f"{CALLER[:-2]}00"})
    request.end("POST /jobs", {})
    traces.record(Span("attempt", request.context, NOW, NOW))
    traces.close()
    assert trace_id(request.context) == TRACE
    assert received(collector) == []


# pytest-timeout and the sender have threads, which a fork leaves behind: what is tested here.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_sends_its_own(collector: Receiver) -> None:
    parent = make_traces("sweep")
    parent.record(span("parent"))
    if (child := os.fork()) == 0:
        own = make_traces("worker")
        own.record(span("child"))
        own.close()
        os._exit(0)
    os.waitpid(child, 0)
    parent.close()
    sent = sorted((one.name, one.service) for one in received(collector, TRACE))
    assert sent == [("child", "normlab-worker"), ("parent", "normlab-sweep")]


def test_a_collector_that_is_away_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port()}/v1/traces")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with capture_logs() as lines:
        traces = make_traces("worker")
        for number in range(500):
            traces.record(span(f"span {number}"))
        traces.close()
    (line,) = lines
    assert line["event"].startswith("traces can't be sent")
    assert line["error"].startswith("Failed to export spans")
