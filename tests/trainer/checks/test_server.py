"""The helper process of the check: one line in, one line out, whatever the lines are."""

import json
import socket
import sys

import pytest

from tests.runtime.test_fork_server import fork, running
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.checks.__main__ import main
from trainer.spec.report import Report


def question(number, **options):
    return {
        "id": number,
        "spec": make_spec(**options).model_dump(mode="json"),
        "info": DIGITS.model_dump(mode="json"),
    }


def test_every_question_gets_one_answer_and_none_ends_the_helper():
    lines = [
        json.dumps(question("a", model="cnn", norm={"kind": "group", "groups": 5})),
        "not JSON",
        "[1, 2]",
        json.dumps({"id": 7}),
        json.dumps({**question(8), "spec": {"model": {"name": "perceptron"}}}),
        json.dumps({**question(9), "info": None}),
        "[" * 100_000,
        "\udcff",
        json.dumps(question("b", model="mlp", norm="batch")),
    ]
    with running("-m", "trainer.checks", "--serve") as control:
        _, connection = fork(control)
        with connection, connection.makefile("rb") as said:
            connection.sendall("\n".join(lines).encode(errors="surrogateescape") + b"\n")
            connection.shutdown(socket.SHUT_WR)
            answers = [json.loads(line) for line in said]
    assert [answer["id"] for answer in answers] == ["a", None, None, 7, 8, 9, None, None, "b"]
    first, *refused, last = answers
    assert Report.model_validate(first["report"]).problems[0].pointer == "/norm/groups"
    assert all(set(answer) == {"id", "error"} for answer in refused)
    assert Report.model_validate(last["report"]).problems == ()


def test_without_its_option_it_says_how_it_is_called(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["trainer.checks"])
    with pytest.raises(SystemExit, match="--serve"):
        main()
