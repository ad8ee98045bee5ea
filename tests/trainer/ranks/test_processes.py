"""The processes of a training on several devices end together, however one of them ends."""

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from ranks.rank_trainings import start_ranks

from runtime.preloaded import VARIABLE
from tests.support.trainings import make_spec
from tests.support.waiting import wait_for
from trainer.errors import DataError, RankOutOfMemory
from trainer.events import Stepped
from trainer.ranks import launch

LONG = make_spec(training={"epochs": 10_000, "batch_size": 64}, resources={"devices": 2})

#: Each forked rank starts a process of its own, as a loader of data would be.
LOADERS = """
import os, subprocess, sys
if "trainer.ranks" in sys.orig_argv:
    os.register_at_fork(after_in_child=lambda: subprocess.Popen(
        ["sh", "-c", "sleep 9999; : trainer.ranks"]
    ))
"""

CALLER = """
import sys
from pathlib import Path
from ranks.rank_trainings import start_ranks
from ranks.test_processes import LONG
for event in start_ranks(LONG, Path(sys.argv[1])):
    print(event, flush=True)
"""


def processes() -> Sequence[psutil.Process]:
    """Of trainings that this test has started: those who run in its folder."""
    return [one for one in psutil.process_iter() if _is_ours(one)]


def _is_ours(process: psutil.Process) -> bool:
    try:
        is_running = process.status() != psutil.STATUS_ZOMBIE
        named = "trainer.ranks" in " ".join(process.cmdline())
        return is_running and named and process.cwd() == str(Path.cwd())
    except psutil.Error:
        return False


def ranks() -> Sequence[psutil.Process]:
    """Without the process that has forked them, in their order."""
    found = processes()
    pids = {one.pid for one in found}
    children = [one for one in found if one.ppid() in pids]
    return sorted(children, key=lambda one: one.pid)


@pytest.fixture(autouse=True)
def in_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), str(tmp_path)]))
    monkeypatch.chdir(tmp_path)
    yield
    wait_for(lambda: not processes(), "no process is left")


def until_a_step(training):
    for event in training:
        if event == Stepped(3):
            return
    raise AssertionError("it has ended")


@pytest.mark.usefixtures("preload")
def test_a_rank_that_the_kernel_killed_ends_all_and_is_named(tmp_path, monkeypatch) -> None:
    # Each time it is asked, it has killed one more.
    monkeypatch.setattr(launch, "count_oom_kills", itertools.count().__next__)
    training = start_ranks(LONG, tmp_path / "attempt-1")
    until_a_step(training)
    ranks()[1].kill()
    with pytest.raises(RankOutOfMemory, match="rank 1 was killed by the kernel"):
        list(training)
    assert not processes()


@pytest.mark.usefixtures("preload")
def test_an_abandoned_training_leaves_no_process(tmp_path) -> None:
    training = start_ranks(LONG, tmp_path / "attempt-1")
    until_a_step(training)
    assert len(ranks()) == 2
    training.close()
    assert not processes()


@pytest.mark.usefixtures("preload")
def test_what_a_rank_raises_is_raised_by_the_training(tmp_path) -> None:
    spec = make_spec(dataset={"name": "digits", "train_size": 1_000_000}, resources={"devices": 2})
    with pytest.raises(DataError) as raised:
        list(start_ranks(spec, tmp_path / "attempt-1"))
    assert "in _train" in str(raised.value.__cause__)


def test_ranks_and_their_loaders_end_with_a_caller_that_is_killed(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "sitecustomize.py").write_text(LOADERS)
    tests = Path(__file__).parents[2] / "trainer"
    places = os.pathsep.join([os.environ["PYTHONPATH"], str(tests)])
    command = [sys.executable, "-c", CALLER, str(tmp_path / "attempt-1")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": places}
    ) as caller:
        assert caller.stdout is not None
        for line in caller.stdout:
            if line.startswith(b"Stepped"):
                break
        # Two ranks, a loader of each, and the one that forked the ranks.
        assert len(processes()) == 5
        caller.kill()
    wait_for(lambda: not processes(), "no process is left")
