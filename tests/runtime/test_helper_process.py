"""Helpers that answer JSON lines, and commands that read and write bytes: limited, and killed with their group."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

from runtime.helper_process import CommandRunner, HelperProcess
from runtime.supervision import HelperGone, Hung, Limits, Stopped, TimedOut, TooBig

#: Answers with its request; `do` says what else happens.
HELPER = """
import json, os, subprocess, sys, time

for line in sys.stdin:
    request = json.loads(line)
    match request["do"]:
        case "sleep": time.sleep(60)
        case "grow": hoard = bytearray(400 * 2**20); time.sleep(60)
        case "abort": os.abort()
        case "leave": sys.exit(3)
        case "child": request["pid"] = subprocess.Popen(["sleep", "600"]).pid
        case "half": print("{", end="", flush=True); sys.exit(3)
    print(json.dumps(request), flush=True)
"""
GENEROUS = Limits(wall_seconds=60)


@pytest.fixture
def helper() -> Iterator[HelperProcess]:
    with closing(HelperProcess.start((sys.executable, "-c", HELPER))) as helper:
        yield helper


def is_gone(pid: int) -> bool:
    """Ended, whether or not somebody has asked how."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_helper_answers_one_request_after_another(helper: HelperProcess) -> None:
    for number in range(3):
        request = {"do": "answer", "text": "x" * 2**18, "number": number}
        assert helper.exchange(request, GENEROUS) == request
    assert helper.is_fresh


@pytest.mark.parametrize(
    ("do", "limits", "error", "why"),
    [
        ("sleep", Limits(wall_seconds=0.3), TimedOut, "took longer than 0.3 seconds"),
        ("sleep", Limits(idle_seconds=3), Hung, "did nothing for 3 seconds"),
        ("grow", Limits(megabytes=256, wall_seconds=60), TooBig, "needed more than 256 MB"),
        ("abort", GENEROUS, HelperGone, "was killed by SIGABRT"),
        ("leave", GENEROUS, HelperGone, "ended with 3"),
        ("half", GENEROUS, HelperGone, "ended with 3"),
    ],
)
def test_a_helper_that_ends_or_is_ended_is_gone_and_says_why(
    do: str, limits: Limits, error: type[HelperGone], why: str, helper: HelperProcess
) -> None:
    with pytest.raises(error, match=why):
        helper.exchange({"do": do}, limits)
    assert is_gone(helper.pid)
    assert not helper.is_fresh


def test_what_a_helper_has_started_ends_with_it(helper: HelperProcess) -> None:
    child = helper.exchange({"do": "child"}, GENEROUS)["pid"]
    helper.close()
    assert is_gone(helper.pid)
    assert is_gone(child)


def test_what_a_helper_that_died_has_started_ends_as_well(helper: HelperProcess) -> None:
    """Though what it has started holds its end of the connection open."""
    child = helper.exchange({"do": "child"}, GENEROUS)["pid"]
    with pytest.raises(HelperGone, match="was killed by SIGABRT"):
        helper.exchange({"do": "abort"}, GENEROUS)
    assert is_gone(child)


def run(program: str, content: bytes = b"", limits: Limits = GENEROUS) -> bytes:
    runner = CommandRunner(limits)
    try:
        return runner.run((sys.executable, "-c", program), content)
    finally:
        assert runner.is_idle


def test_a_command_reads_and_writes_much_at_its_own_pace() -> None:
    content = bytes(range(256)) * 2**14
    program = "import sys, time; time.sleep(0.5); sys.stdout.buffer.write(sys.stdin.buffer.read())"
    assert run(program, content) == content


@pytest.mark.parametrize(
    ("program", "limits", "error", "why"),
    [
        ("import time; time.sleep(60)", Limits(wall_seconds=1), TimedOut, "longer than 1 seconds"),
        (
            "import os, time; os.close(1); time.sleep(60)",
            Limits(wall_seconds=1),
            TimedOut,
            "longer than 1 seconds",
        ),
        (
            "x = bytearray(400 * 2**20); import time; time.sleep(60)",
            Limits(wall_seconds=60, megabytes=256),
            TooBig,
            "more than 256 MB",
        ),
        ("import os; os.abort()", GENEROUS, HelperGone, "was killed by SIGABRT"),
    ],
)
def test_a_command_that_takes_too_much_or_dies_is_an_error(
    program: str, limits: Limits, error: type[HelperGone], why: str
) -> None:
    with pytest.raises(error, match=why):
        run(program, b"never read", limits)


def test_a_command_that_fails_says_what_it_wrote_to_stderr() -> None:
    with pytest.raises(HelperGone, match="ended with 1") as failure:
        run("1/0")
    assert failure.value.stderr.endswith("ZeroDivisionError: division by zero")


def test_what_a_command_has_started_ends_with_it() -> None:
    program = "import json, subprocess; print(json.dumps(subprocess.Popen(['sleep', '600'], stdout=-3).pid))"
    assert is_gone(json.loads(run(program)))


def test_a_command_has_ended_though_what_it_has_started_holds_its_output_open() -> None:
    program = "import os, subprocess; os.write(1, b'%d' % subprocess.Popen(['sleep', '600']).pid)"
    assert is_gone(int(run(program)))


def test_a_runner_that_is_stopped_ends_its_command_and_starts_no_other() -> None:
    runner = CommandRunner(GENEROUS)
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    threading.Timer(0.5, runner.stop).start()
    for _ in range(2):
        with pytest.raises(Stopped, match="being stopped"):
            runner.run(command, b"")
    assert runner.is_idle
