"""The helper that checks specs: watched, limited, started again, and never believed to have said yes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from api.checker import Checker, CheckerUnavailable, CheckFailed
from tests.api.specs import JOB, job
from tests.factories import make_info, make_spec
from trainer.spec.builtin import BUILT_IN

#: A helper that counts its questions in a file and does what `training.epochs` says.
HELPER = """
import json, os, sys, time
print('{"ready": true}', flush=True)
for line in sys.stdin:
    question = json.loads(line)
    with open(sys.argv[1], "a") as seen:
        seen.write("x")
    match question["spec"]["training"]["epochs"]:
        case 7: time.sleep(600)
        case 8: os._exit(3)
        case 9: hoard = bytearray(700 * 2**20); time.sleep(600)
        case 11: time.sleep(1)
        case 12: time.sleep(0.002)
        case 10:
            print(json.dumps({"id": 1, "error": "a bug"}), flush=True)
            continue
    print(json.dumps({"id": 1, "report": {"parameters": 5}}), flush=True)
"""
SLEEPS, DIES, GROWS, ERRS, THINKS, PONDERS = 7, 8, 9, 10, 11, 12
DIGITS = BUILT_IN["digits"]


def epochs(number: int) -> Any:
    return make_spec(training={"epochs": number})


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    return tmp_path / "seen"


@pytest.fixture
def small(seen: Path) -> Iterator[Checker]:
    """A checker whose helper takes no seconds to start."""
    command = (sys.executable, "-c", HELPER, str(seen))
    checker = Checker(seconds=3.0, megabytes=512, start_seconds=20, command=command)
    checker.start()
    yield checker
    checker.close()


def check_again(checker: Checker) -> None:
    """The helper is back within moments."""
    assert checker.check(epochs(2), DIGITS).parameters == 5


def test_a_question_that_takes_too_long_ends_the_helper_not_the_service(small: Checker) -> None:
    check_again(small)
    before, started = small.pid, time.monotonic()
    with pytest.raises(CheckerUnavailable, match="longer than its limit"):
        small.check(epochs(SLEEPS), DIGITS)
    assert time.monotonic() - started < 5
    assert small.check(epochs(3), DIGITS).parameters == 5
    assert small.pid != before


def test_a_question_that_waited_for_its_turn_still_has_its_time(small: Checker) -> None:
    check_again(small)
    before = small.pid
    # What is left of its waiting time is less than the check takes.
    assert small.check(epochs(THINKS), DIGITS, 0.3).parameters == 5
    assert small.pid == before


def test_a_helper_that_dies_on_a_question_is_started_again(small: Checker) -> None:
    with pytest.raises(CheckerUnavailable, match=r"ended|broke off"):
        small.check(epochs(DIES), DIGITS)
    check_again(small)


def test_a_helper_that_dies_between_questions_is_started_again(small: Checker) -> None:
    check_again(small)
    before = small.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while small.pid == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert small.check(epochs(3), DIGITS).parameters == 5


def test_a_model_that_needs_too_much_memory_is_refused(small: Checker) -> None:
    [problem] = small.check(epochs(GROWS), DIGITS).problems
    assert problem.pointer == "/model"
    assert "512 MB" in problem.detail
    check_again(small)
    # It may have been the others' memory: the same question is asked again.
    before = small.pid
    assert small.check(epochs(GROWS), DIGITS).problems
    assert small.check(epochs(3), DIGITS).parameters == 5
    assert small.pid != before


def test_an_error_of_the_check_is_no_yes(small: Checker) -> None:
    with pytest.raises(CheckFailed, match="a bug"):
        small.check(epochs(ERRS), DIGITS)
    check_again(small)


def test_a_helper_that_cannot_start_leaves_the_check_unavailable() -> None:
    checker = Checker(
        seconds=1.0, megabytes=512, start_seconds=1, command=(sys.executable, "-c", "")
    )
    checker.start()
    with pytest.raises(CheckerUnavailable, match="starting"):
        checker.check(epochs(2), DIGITS)
    assert not checker.is_ready
    checker.close()


def test_answers_are_remembered_for_what_the_check_depends_on(small: Checker, seen: Path) -> None:
    def asked() -> int:
        return len(seen.read_text())

    def check(info: Any = DIGITS, **parts: Any) -> int:
        small.check(make_spec(**parts), info)
        return asked()

    assert check() == 1
    assert check() == 1
    assert check(seed=9, project="other", resources={"priority": "high"}) == 1
    assert check(optimizer={"kind": "adam"}) == 2
    assert check(schedule={"kind": "cosine"}) == 3
    assert check(training={"epochs": 2, "batch_size": 8}) == 4
    assert check(training={"epochs": 2, "drop_last": True}) == 5
    assert check(info=make_info("digits")) == 6
    small._versions = "torch=99"
    assert check() == 7


def test_the_helper_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    program = f"""
        import os, signal, sys, time
        from api.checker import Checker
        checker = Checker(seconds=5, megabytes=512, start_seconds=20,
                          command=(sys.executable, "-c", {HELPER!r}, {str(tmp_path / "seen")!r}))
        checker.start()
        while not checker.is_ready:
            time.sleep(0.05)
        print(checker.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_closing_leaves_no_process(seen: Path) -> None:
    command = (sys.executable, "-c", HELPER, str(seen))
    checker = Checker(seconds=3.0, megabytes=512, start_seconds=20, command=command)
    checker.start()
    check_again(checker)
    pid = checker.pid
    checker.close()
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_without_a_check_nothing_is_accepted(
    member: TestClient, small: Checker, replace: Callable[..., None]
) -> None:
    replace(checker=small)
    check_again(small)
    answer = member.post("/api/v1/jobs", json=job(training__epochs=SLEEPS))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    assert member.get("/api/v1/jobs").json()["items"] == []


def test_a_study_too_long_to_check_at_once_gets_through_in_parts(
    member: TestClient, small: Checker, app: Any, replace: Callable[..., None]
) -> None:
    check_again(small)
    settings = app.state.services.settings
    replace(checker=small, settings=settings.model_copy(update={"study_check_seconds": 0.05}))
    variants = {
        f"v{n}": {
            "norm": {
                "kind": "none",
            },
            "model": {"width": n},
        }
        for n in range(1, 301)
    }
    # However fast the machine: 300 combinations take 0.6 s, and a call has 0.05.
    base = {key: JOB[key] for key in ("dataset", "model")} | {"training": {"epochs": PONDERS}}
    document = {"name": "long", "base": base, "variants": variants, "seeds": 1}
    codes = []
    for _ in range(100):
        answer = member.post("/api/v1/plans", json=document)
        codes.append(answer.status_code)
        if answer.status_code == 200:
            break
        assert answer.status_code == 503, answer.text
        assert "remembered" in answer.json()["detail"]
    assert codes[-1] == 200
    assert len(codes) > 1
