"""The helpers that check specs: watched, limited, started again, and never believed to have said yes."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

import trainer
from api.processes.spec_checker import (
    Checker,
    CheckerUnavailable,
    CheckFailed,
    StillChecking,
    _versions,
)
from runtime import helper_process
from runtime.supervision import Limits
from tests.support.documents import JOB, job
from tests.support.factories import make_info, make_spec
from tests.support.waiting import wait_for
from trainer.spec.builtin import BUILT_IN

#: Helpers that count their questions in a file and do what `training.epochs` says.
HELPERS = """
import json, os, sys, time
from runtime.fork_server import serve_forks

def serve(questions, answers):
    for line in questions:
        question = json.loads(line)
        with open(sys.argv[1], "a") as seen:
            seen.write("x")
        answer = {"report": {"parameters": 5}}
        match question["spec"]["training"]["epochs"]:
            case 7: time.sleep(600)
            case 8: os._exit(3)
            case 9: hoard = bytearray(100 * 2**20); time.sleep(600)
            case 10: answer = {"error": "a bug"}
            case 11: time.sleep(1)
            case 12: time.sleep(0.02)
            case 13:
                while True: pass
            case 14:
                while time.process_time() < 0.3: pass
        print(json.dumps({"id": 1, **answer}), file=answers, flush=True)

serve_forks(serve)
"""
SLEEPS, DIES, GROWS, ERRS, THINKS, PONDERS, SPINS, WORKS = range(7, 15)
DIGITS = BUILT_IN["digits"]
ANN, BOB = 1, 2


def epochs(number: int) -> Any:
    return make_spec(training={"epochs": number})


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    return tmp_path / "seen"


Start = Callable[..., Checker]


@pytest.fixture
def start(seen: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a checker whose helpers take no seconds to start."""
    started: list[Checker] = []

    def start(places: int = 8, idle_seconds: float = 2.0) -> Checker:
        checker = Checker(
            limits=Limits(cpu_seconds=1.0, idle_seconds=idle_seconds, megabytes=64),
            start_seconds=90,
            wait_seconds=20,
            helpers=2,
            places=places,
            folder=tmp_path / "checks",
            command=(sys.executable, "-c", HELPERS, str(seen)),
        )
        started.append(checker)
        checker.start()
        return checker

    yield start
    for checker in started:
        checker.close()


@pytest.fixture
def small(start: Start) -> Checker:
    return start()


def check_again(checker: Checker) -> None:
    """A helper is there within moments."""
    assert checker.check(epochs(2), DIGITS, ANN).parameters == 5


def both_pids(checker: Checker) -> set[int]:
    """Of its two helpers, once both are there: one may answer before the other is forked."""
    wait_for(lambda: len(checker.pids) == 2, "both helpers are there")
    return set(checker.pids)


def assert_replaced(checker: Checker, before: set[int]) -> None:
    """One of the two helpers; the other may answer before the new one is forked."""
    wait_for(lambda: len(checker.pids) == 2 and set(checker.pids) != before, "it is replaced")


def test_a_helper_that_hangs_is_replaced(small: Checker) -> None:
    before = both_pids(small)
    with pytest.raises(CheckerUnavailable, match="did nothing for 2 seconds"):
        small.check(epochs(SLEEPS), DIGITS, ANN)
    assert small.check(epochs(3), DIGITS, ANN).parameters == 5
    assert_replaced(small, before)


def test_a_model_that_needs_too_much_cpu_time_is_refused_and_ends_only_its_helper(
    small: Checker,
) -> None:
    before = both_pids(small)
    [problem] = small.check(epochs(SPINS), DIGITS, ANN).problems
    assert problem.detail == "checking the model needed more than 1 seconds of CPU time"
    assert "NORMLAB_CHECK_SECONDS" in str(problem.remedy)
    assert small.check(epochs(3), DIGITS, ANN).parameters == 5
    assert_replaced(small, before)


def test_a_helper_that_worked_for_long_makes_way_and_is_replaced(
    small: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = both_pids(small)
    monkeypatch.setattr(helper_process, "SHORT_SECONDS", 0.01)
    assert small.check(epochs(WORKS), DIGITS, ANN).parameters == 5
    # The thread that answered replaces it before it takes the next question.
    assert_replaced(small, before)


def test_a_check_that_outlasts_its_request_goes_on_and_is_kept(small: Checker, seen: Path) -> None:
    check_again(small)
    with pytest.raises(StillChecking, match="its answer is cached"):
        small.check(epochs(THINKS), DIGITS, ANN, 0.3)
    assert small.check(epochs(THINKS), DIGITS, ANN).parameters == 5
    assert seen.read_text() == "xx"


def test_a_long_check_of_one_person_does_not_hold_up_another(start: Start) -> None:
    checker = start(idle_seconds=60)
    with ThreadPoolExecutor(3) as threads:
        long = [
            threads.submit(
                checker.check,
                make_spec(training={"epochs": SLEEPS, "batch_size": size}),
                DIGITS,
                ANN,
            )
            for size in (8, 16, 32)
        ]
        wait_for(lambda: len(checker._queue._places) == 3)
        assert checker.check(epochs(3), DIGITS, BOB).parameters == 5
        assert not any(one.done() for one in long)
        checker.close()
    assert all(isinstance(one.exception(), CheckerUnavailable) for one in long)


def test_a_helper_that_dies_on_a_question_is_started_again(small: Checker) -> None:
    with pytest.raises(CheckerUnavailable, match=r"ended|broke off"):
        small.check(epochs(DIES), DIGITS, ANN)
    check_again(small)


def test_helpers_that_die_between_questions_are_started_again(small: Checker) -> None:
    check_again(small)
    for pid in small.pids:
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(is_gone, pid))
    assert small.check(epochs(3), DIGITS, ANN).parameters == 5


def test_their_server_is_started_again(small: Checker) -> None:
    check_again(small)
    server = small._pool._server
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: not small.is_ready)
    assert small.check(epochs(3), DIGITS, ANN).parameters == 5
    assert small._pool._server is not server


def test_a_model_that_needs_too_much_memory_is_refused(small: Checker, seen: Path) -> None:
    [problem] = small.check(epochs(GROWS), DIGITS, ANN).problems
    assert problem.pointer == "/model"
    assert "64 MB" in problem.detail
    check_again(small)
    # Not kept: the same question is asked again.
    assert small.check(epochs(GROWS), DIGITS, ANN).problems
    assert seen.read_text() == "xxx"


def test_an_error_of_the_check_is_no_yes(small: Checker) -> None:
    with pytest.raises(CheckFailed, match="a bug"):
        small.check(epochs(ERRS), DIGITS, ANN)
    check_again(small)


def test_helpers_that_cannot_start_leave_the_check_unavailable(tmp_path: Path) -> None:
    checker = Checker(
        limits=Limits(1.0, 1.0, 512),
        start_seconds=1,
        wait_seconds=1,
        helpers=1,
        places=8,
        folder=tmp_path,
        command=(sys.executable, "-c", ""),
    )
    checker.start()
    with pytest.raises(CheckerUnavailable, match="starting"):
        checker.check(epochs(2), DIGITS, ANN)
    assert not checker.is_ready
    checker.close()


def test_answers_are_remembered_for_what_the_check_depends_on(small: Checker, seen: Path) -> None:
    def asked() -> int:
        return len(seen.read_text())

    def check(info: Any = DIGITS, **parts: Any) -> int:
        small.check(make_spec(**parts), info, ANN)
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


def test_another_version_of_our_code_is_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec").mkdir()
    code = tmp_path / "spec" / "norm.py"
    code.write_text("answer = 1")
    monkeypatch.setattr(trainer, "__path__", [str(tmp_path)])
    before = _versions()
    assert _versions() == before
    code.write_text("answer = 2")
    assert _versions() != before


def test_answers_outlive_the_process(start: Start, seen: Path, tmp_path: Path) -> None:
    first = start()
    check_again(first)
    first.close()
    check_again(start())
    assert seen.read_text() == "x"
    [kept] = (tmp_path / "checks").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    check_again(start())
    assert seen.read_text() == "xx"


def test_the_helpers_end_with_their_process_however_that_ends(tmp_path: Path) -> None:
    program = f"""
        import os, signal, sys, time
        from pathlib import Path
        from api.processes.spec_checker import Checker
        from runtime.supervision import Limits
        checker = Checker(limits=Limits(5, 5, 512), start_seconds=90, wait_seconds=5, helpers=2, places=8,
                          folder=Path({str(tmp_path)!r}), command=(sys.executable, "-c", {HELPERS!r}, "seen"))
        checker.start()
        while len(checker.pids) < 2:
            time.sleep(0.05)
        print(*checker.pids, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for pid in done.stdout.split():
        wait_for(partial(is_gone, int(pid)))


def test_closing_leaves_no_process(small: Checker) -> None:
    check_again(small)
    pids = [*small.pids, psutil.Process(small.pids[0]).ppid()]
    small.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def is_gone(pid: int) -> bool:
    """Ended, whether or not somebody has asked how."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


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


def test_a_person_who_has_no_place_left_is_told_to_come_back(
    member: TestClient, viewer: TestClient, start: Start, replace: Callable[..., None]
) -> None:
    checker = start(places=1, idle_seconds=60)
    replace(checker=checker)
    with ThreadPoolExecutor(1) as threads:
        long = threads.submit(member.post, "/api/v1/plans", json=job(training__epochs=SLEEPS))
        wait_for(lambda: bool(checker._queue._places))
        answer = member.post("/api/v1/plans", json=job(training__epochs=3))
        assert (
            "1 of your requests are already waiting for checks; nothing was accepted" in answer.text
        )
        assert int(answer.headers["Retry-After"]) > 0
        assert viewer.post("/api/v1/plans", json=job(training__epochs=4)).status_code == 200
        checker.close()
        assert long.result().status_code == 503


def test_a_study_too_long_to_check_at_once_gets_through_in_parts(
    member: TestClient, small: Checker, app: Any, replace: Callable[..., None]
) -> None:
    check_again(small)
    settings = app.state.services.settings
    replace(checker=small, settings=settings.model_copy(update={"study_check_seconds": 0.2}))
    variants = {
        f"v{n}": {
            "norm": {
                "kind": "none",
            },
            "model": {"width": n},
        }
        for n in range(1, 61)
    }
    # However fast the machine: 60 combinations take 1.2 s, and a call has 0.2.
    base = {key: JOB[key] for key in ("dataset", "model")} | {"training": {"epochs": PONDERS}}
    document = {"name": "long", "base": base, "variants": variants, "seeds": 1}
    codes = []
    for _ in range(300):
        answer = member.post("/api/v1/plans", json=document)
        codes.append(answer.status_code)
        if answer.status_code == 200:
            break
        assert answer.status_code == 503, answer.text
        assert "are checked and cached" in answer.json()["detail"]
    assert codes[-1] == 200
    assert len(codes) > 1
