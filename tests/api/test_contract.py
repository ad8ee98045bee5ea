"""What the OpenAPI document says, asked by schemathesis with all its checks: each answer is as its schema says, none a
failure of ours, and nothing wrong is accepted."""

import os
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from api.processes.spec_checker import Checker
from trainer.spec import Report

#: Of each operation, about half of them wrong: more take too long here (`NORMLAB_CONTRACT_EXAMPLES`).
EXAMPLES = int(os.environ.get("NORMLAB_CONTRACT_EXAMPLES", "3"))
#: A schema can't say all rules of a spec, nor what the database holds.
ACCEPTED = ["2xx", "3xx", "400", "401", "403", "404", "409", "413", "422"]


def ask(
    address: str, document: dict[str, Any], headers: dict[str, str], mode: str, examples: int
) -> tuple[set[int], list[str]]:
    """The statuses of the answers, and what the checks found."""
    config = SchemathesisConfig.from_dict(
        {
            "base-url": address,
            "headers": headers,
            "seed": 1,
            "request-timeout": 300,
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
            "generation": {
                "mode": mode,
                "max-examples": examples,
                "database": "none",
                "no-shrink": True,
            },
            "phases": {
                name: {"enabled": name == "fuzzing"}
                for name in ("examples", "coverage", "fuzzing", "stateful")
            },
        }
    )
    statuses, found = set(), []
    for event in from_schema(schemathesis.openapi.from_dict(document, config=config)).execute():
        match event:
            case ScenarioFinished(recorder=recorder):
                answers = {one: item.response for one, item in recorder.interactions.items()}
                statuses |= {answer.status_code for answer in answers.values() if answer}
                for case, checks in recorder.checks.items():
                    failures = [one.failure_info.failure for one in checks if one.failure_info]
                    found += [
                        f"{recorder.label}: {one.message} {answers[case]}" for one in failures
                    ]
            case NonFatalError(value=error) | FatalError(exception=error):
                found.append(repr(error))
    return statuses, found


@pytest.fixture
def document(admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    # Networks take a second each, and have tests of their own.
    monkeypatch.setattr(Checker, "check", lambda *_: Report())
    document: dict[str, Any] = admin.get("/openapi.json").json()
    return document


def test_all_answers_are_as_the_document_says(
    address: str, admin: TestClient, document: dict[str, Any]
) -> None:
    headers = {"Authorization": admin.headers["Authorization"]}
    statuses, found = ask(address, document, headers, "all", EXAMPLES)
    assert found == []
    assert {200, 202, 404, 422} <= statuses


def test_strangers_get_nothing_but_a_refusal(address: str, document: dict[str, Any]) -> None:
    headers = {"Authorization": "Bearer nl_unknown"}
    guarded = {path: one for path, one in document["paths"].items() if path.startswith("/api/")}
    statuses, found = ask(address, {**document, "paths": guarded}, headers, "positive", 1)
    assert found == []
    assert statuses == {401}
