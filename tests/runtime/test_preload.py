"""Processes that are forked by one that has imported what they need: they look and end like started ones."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runtime.helper_process import CommandRunner, HelperProcess
from runtime.preload import set_title
from runtime.preloaded import (
    UNKNOWN,
    VARIABLE,
    ForkedProcess,
    Question,
    check_peer,
    fork,
    listen,
)
from runtime.supervision import HelperGone, Limits
from tests.support.preload import running_preload
from tests.support.waiting import wait_for

#: What is run: a module beside the test, which has imported nothing itself.
PROGRAM = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ.get("ANSWER"), os.getcwd(), "html.parser" in sys.modules]))
sys.stdout.flush()
for line in sys.stdin:
    sys.exit("it failed")
sys.exit(3)
"""

HELPER = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"has_imported": "html.parser" in sys.modules}), flush=True)
"""


COMMAND = """
import os, sys
if sys.argv[1] == "fail":
    sys.exit("it failed")
print(sys.stdin.read(), os.environ["ANSWER"], "yes" if "html.parser" in sys.modules else "no", end="")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preload")
    (folder / "forked_program.py").write_text(PROGRAM)
    (folder / "forked_helper.py").write_text(HELPER)
    (folder / "forked_command.py").write_text(COMMAND)
    return folder


@pytest.fixture(scope="module")
def preloaded(folder: Path) -> Iterator[Path]:
    with running_preload(folder, "html.parser") as (path, _):
        yield path


def start(path: Path, *, bound: bool = False, **more: str) -> tuple[ForkedProcess, int, int]:
    """The process, and where it reads and writes."""
    reads, to_it = os.pipe()
    from_it, writes = os.pipe()
    environment = {"ANSWER": "42", "PATH": "/bin", **more}
    command = ("-m", "forked_program", "an argument")
    try:
        process = fork(
            path, command, environment, (reads, writes, writes), folder="/tmp", bound=bound
        )
    finally:
        os.close(reads)
        os.close(writes)
    return process, to_it, from_it


def test_it_has_what_was_imported_and_all_else_of_its_own(preloaded: Path) -> None:
    process, to_it, from_it = start(preloaded)
    said = os.fdopen(os.dup(from_it))
    assert json.loads(said.readline()) == [["an argument"], "42", "/tmp", True]
    seen = psutil.Process(process.pid)
    assert seen.cmdline()[1:4] == ["-m", "forked_program", "an"]
    assert seen.environ() == {"ANSWER": "42", "PATH": "/bin"}
    assert os.getsid(process.pid) == process.pid
    assert process.poll() is None
    os.write(to_it, b"fail\n")
    assert process.wait(60) == process.poll() == 1
    assert said.read() == "it failed\n"
    said.close()
    os.close(to_it)
    os.close(from_it)


def test_its_exit_status_is_known(preloaded: Path) -> None:
    process, to_it, from_it = start(preloaded)
    with pytest.raises(psutil.TimeoutExpired):
        process.wait(0.01)
    os.close(to_it)
    assert process.wait(60) == 3
    killed, *ends = start(preloaded)
    killed.kill()
    assert killed.wait(60) == -signal.SIGKILL
    for descriptor in (from_it, *ends):
        os.close(descriptor)


def test_one_that_is_bound_ends_with_who_asked_for_it(preloaded: Path) -> None:
    process, *ends = start(preloaded, bound=True)
    other, *others = start(preloaded)
    process.close()
    wait_for(lambda: not psutil.pid_exists(process.pid))
    assert other.poll() is None
    other.kill()
    assert other.wait(60) == -signal.SIGKILL
    for descriptor in (*ends, *others):
        os.close(descriptor)


def test_where_nothing_forks_any_more_it_is_said_and_what_was_forked_goes_on(folder: Path) -> None:
    with running_preload(folder) as (path, server):
        question = Question(path)
        process, to_it, from_it = start(path)
        wait_for(lambda: question.is_answered)
        server.kill()
        server.wait()
        with pytest.raises(ConnectionError):
            start(path)
        assert process.poll() is None
        process.kill()
        assert process.wait(60) == UNKNOWN
        os.close(to_it)
        os.close(from_it)


def test_a_helper_is_forked_where_the_environment_says_so(
    preloaded: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    command = [sys.executable, "-m", "forked_helper"]
    for place, has_imported in ((str(preloaded), True), (str(folder / "nothing"), False)):
        monkeypatch.setenv(VARIABLE, json.dumps({"forked_helper": place}))
        helper = HelperProcess.start(command)
        try:
            answer = helper.exchange({"question": 1}, Limits(wall_seconds=60))
        finally:
            helper.close()
        assert answer == {"has_imported": has_imported}
        wait_for(lambda helper=helper: not psutil.pid_exists(helper.pid))


def test_a_command_is_forked_where_the_environment_says_so(
    preloaded: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    command = [sys.executable, "-m", "forked_command"]
    for place, has_imported in ((str(preloaded), b"yes"), (str(folder / "nothing"), b"no")):
        monkeypatch.setenv(VARIABLE, json.dumps({"forked_command": place}))
        runner = CommandRunner(Limits(wall_seconds=60), {"ANSWER": "42"})
        assert runner.run([*command, "go on"], b"content") == b"content 42 " + has_imported
        with pytest.raises(HelperGone, match="ended with 1") as failure:
            runner.run([*command, "fail"], b"")
        assert failure.value.stderr == "it failed"
        assert runner.is_idle


def test_what_modules_set_in_the_environment_is_set_in_what_is_forked(folder: Path) -> None:
    (folder / "sets_variables.py").write_text(
        "import os\n"
        "os.environ.setdefault('SET_BY_A_MODULE', 'yes')\n"
        "os.environ.setdefault('ANSWER', 'a default')\n"
    )
    with running_preload(folder, "sets_variables") as (path, _):
        process, *ends = start(path)
        assert os.read(ends[1], 1000)
        seen = psutil.Process(process.pid).environ()
        process.kill()
        process.wait(60)
    assert (seen["SET_BY_A_MODULE"], seen["ANSWER"]) == ("yes", "42")
    for descriptor in ends:
        os.close(descriptor)


def test_a_variable_need_not_be_utf_8(preloaded: Path) -> None:
    process, to_it, from_it = start(preloaded, NAME=os.fsdecode(b"caf\xe9"))
    assert os.read(from_it, 1000)
    assert b"NAME=caf\xe9\0" in Path(f"/proc/{process.pid}/environ").read_bytes()
    for descriptor in (to_it, from_it):
        os.close(descriptor)
    process.wait(60)


def test_what_nobody_waits_for_any_more_is_not_forked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_preload(folder) as (path, server):
        question = Question(path)
        wait_for(lambda: question.is_answered)
        server.send_signal(signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr("runtime.preloaded._ANSWER_SECONDS", 0.1)
            with pytest.raises(TimeoutError):
                start(path)
        question = Question(path)
        server.send_signal(signal.SIGCONT)
        wait_for(lambda: question.is_answered)
        assert psutil.Process(server.pid).children() == []


def test_where_the_kernel_hides_the_command_line_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.preload._place", lambda _: (0, 0))
    set_title(["python"], {"NAME": "value"})


def test_a_module_that_starts_a_thread_is_refused(folder: Path) -> None:
    (folder / "starts_a_thread.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    with running_preload(folder, "starts_a_thread") as (_, server):
        assert server.wait(60) == 1


def test_another_user_can_neither_ask_nor_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listen(folder / "peer.sock") as listening:
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asking.connect(str(folder / "peer.sock"))
        answering, _ = listening.accept()
        with asking, answering:
            check_peer(asking)
            check_peer(answering)
            us = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: us + 1)
            for side in (asking, answering):
                with pytest.raises(PermissionError, match=f"user {us}"):
                    check_peer(side)
