"""Whatever is done to a whole stack: each accepted job ends once, as if nothing had happened, and nothing is left.

One small round, in which faults of a kind share their jobs; `make test-faults` has three, with many jobs.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from normlab.home import Home
from tests.support.faults.invariants import Reference, train_undisturbed, verify
from tests.support.faults.machine import Disk, is_running
from tests.support.faults.report import Report
from tests.support.faults.scene import Scene
from tests.support.faults.table import ALONE, DAMAGED, KILLED, STOPPED, Fault
from tests.support.faults.trainings import SCALE, SETTINGS
from tests.support.stack import make_installation, running
from tests.support.waiting import wait_for

TOGETHER = (KILLED, STOPPED, DAMAGED, *(() if SCALE.is_small else (ALONE,)))
SETS = TOGETHER if SCALE.together else tuple((fault,) for faults in TOGETHER for fault in faults)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    installation = make_installation(tmp_path_factory.mktemp("home") / "normlab", **SETTINGS)
    with ExitStack() as stack:
        # The disk goes when nothing runs on it any more.
        disks = stack.enter_context(ExitStack())
        running_stack = stack.enter_context(running(installation))
        jobs = Home(installation.home).storage / "jobs"
        jobs.mkdir(exist_ok=True)
        if (disk := Disk.mount(jobs)) is not None:
            disks.callback(disk.unmount)
        scene = Scene(running_stack, SCALE, disk)
        yield scene
        scene.engine.dispose()
        kill_supervisor(scene)
        down = installation.normlab("down")
        assert "had left behind" in down
        assert installation.processes() == []


@pytest.fixture(scope="module")
def reference(scene: Scene) -> Reference:
    return train_undisturbed(scene)


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    report = Report(SCALE.together)
    yield report
    if path := os.environ.get("NORMLAB_FAULT_REPORT"):
        report.write(Path(path))


# A round of `make test-faults` has dozens of jobs, and waits for minutes on purpose.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("faults", SETS, ids=lambda faults: faults[0].name)
# The lower one varies last: a whole round of all faults, then the next.
@pytest.mark.parametrize("number", range(1, SCALE.rounds + 1))
def test_every_accepted_job_ends_once_and_as_if_nothing_had_happened(
    scene: Scene, reference: Reference, report: Report, faults: tuple[Fault, ...], number: int
) -> None:
    scene.begin()
    with report.round(scene, faults):
        verify(scene, reference)


@pytest.mark.timeout(1800)
def test_after_a_power_cut_the_stack_starts_again_and_its_jobs_go_on(
    scene: Scene, reference: Reference
) -> None:
    scene.begin()
    scene.running()
    kill_supervisor(scene)
    # Some processes are gone, some are left without a parent.
    for process in scene.stack.processes()[::2]:
        process.kill()
    assert "killed stack has left" in scene.stack.run("status").stderr
    scene.engine.dispose()
    scene.stack.normlab("up", "--detach")
    assert scene.stack.status()["phase"] == "ready"
    verify(scene, reference)


def kill_supervisor(scene: Scene) -> None:
    supervisor = psutil.Process(scene.home.read_state()["supervisor"]["pid"])
    supervisor.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_running(supervisor), "the supervisor's end")
