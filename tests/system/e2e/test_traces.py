"""One trace from a request to the verdict, through every process of a stack."""

from collections import Counter
from typing import Any

from tests.support.collector import Received, received
from tests.support.receiver import Receiver
from tests.support.stack import Stack
from tests.support.waiting import wait_for

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STUDY: dict[str, Any] = {
    "name": "traced",
    "base": {
        "dataset": {"name": "digits", "train_size": 100},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 2},
    },
    "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
    "seeds": 1,
    "claims": [
        {
            "name": "batch-helps",
            "says": "With batch norm the error is lower than without.",
            "statistic": "test_error",
            "rising": ["batch", "none"],
        }
    ],
}


def test_a_study_is_one_trace_from_its_callers_request_to_its_verdict(
    stack: Stack, collector: Receiver
) -> None:
    submitted = stack.post("/studies", STUDY, traceparent=f"00-{TRACE}-{CALLER}-01")
    assert submitted["trace_id"] == TRACE
    study = submitted["id"]
    stack.wait(f"/studies/{study}")

    def all_spans() -> list[Received] | None:
        spans = received(collector, TRACE)
        counts = count(spans)
        # Each process sends its own, when it gets to it.
        is_whole = counts["mirror"] >= 3 and counts["judge"] and counts["evaluate"] == 2
        return spans if is_whole and counts["attempt"] == 2 else None

    spans = wait_for(all_spans, "the trace is whole")
    (request,) = (span for span in spans if span.parent == CALLER)
    assert (request.name, request.service) == ("POST /api/v1/studies", "normlab-api")
    assert request.attributes["http.response.status_code"] == 202
    by_parent = {
        span.id: count([one for one in spans if one.parent == span.id])
        for span in spans
        if span.name == "attempt"
    }
    assert count(spans)["attempt"] == 2
    assert all(below == {"train": 1, "evaluate": 1} for below in by_parent.values())
    assert {span.parent for span in spans if span.name in ("attempt", "mirror", "judge")} == {
        request.id
    }
    assert {span.service for span in spans} == {
        f"normlab-{process}" for process in ("api", "worker", "sweep", "mirror")
    }
    jobs = stack.items(f"/studies/{study}/jobs")
    assert {job["trace_id"] for job in jobs} == {TRACE}
    attempts = [span for span in spans if span.name == "attempt"]
    assert {span.attributes["normlab.job"] for span in attempts} == {job["id"] for job in jobs}
    assert all(span.attributes["normlab.end"] == "completed" for span in attempts)
    assert all(span.events == ("epoch", "epoch") for span in spans if span.name == "train")
    (judged,) = (span for span in spans if span.name == "judge")
    assert judged.attributes["normlab.verdict.batch-helps"] == "undecided"
    assert not any(span.is_error for span in spans)


def count(spans: list[Received]) -> Counter[str]:
    return Counter(span.name for span in spans)
