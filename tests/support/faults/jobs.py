"""Faults of jobs and of what they need: damaged checkpoints, a full disk, too little memory, hanging and poison."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from store.db.models import Attempt, Checkpoint, Job, LogLine
from tests.support.faults.machine import Disk, MemoryGroup, NotMadeHere
from tests.support.faults.processes import kill
from tests.support.faults.scene import Running, Scene
from tests.support.faults.trainings import ON_TWO_SLOTS, SPEC
from tests.support.waiting import wait_for

#: Its checkpoints alone are larger than the memory that it is left with.
LARGE = {
    **SPEC,
    "model": {"name": "mlp", "hidden": [20_000]},
    "training": {"epochs": 10_000, "batch_size": 16, "checkpoint_seconds": 0.2},
    "resources": {"device": "cpu", "max_attempts": 1},
}
ENDLESS = {**SPEC, "training": {**SPEC["training"], "epochs": 10_000}}
POISON = {
    **ENDLESS,
    "resources": {"device": "cpu", "max_attempts": 2},
}


def cut_file(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _pause(scene: Scene) -> tuple[Running, Checkpoint]:
    """The attempt that was ended by it, and the newest checkpoint, which is further than the one before."""
    while True:
        hit = scene.running()
        # Refused where the job has just ended.
        scene.stack.api.post(f"/jobs/{hit.job}/pause")
        if scene.end_of(hit).end != "paused":
            continue
        with scene.sessions.begin() as session:
            rows = session.query(Checkpoint).filter_by(job_id=hit.job, kind="last")
            newest, before = rows.order_by(Checkpoint.id.desc()).limit(2)
        if before.step < newest.step:
            return hit, newest
        # Its training was over, but not its evaluation.
        scene.stack.post(f"/jobs/{hit.job}/resume")


def damage_checkpoint(damage: Callable[[Path], None]) -> Callable[[Scene], str]:
    def happen(scene: Scene) -> str:
        hit, newest = _pause(scene)
        damage(scene.home.storage / newest.path)
        scene.stack.post(f"/jobs/{hit.job}/resume")
        step = scene.first_step_after(hit)
        with scene.sessions.begin() as session:
            warnings = session.get_one(Job, hit.job).warnings
        said = f"the checkpoint of step {newest.step} is not usable"
        assert any(said in warning for warning in warnings), warnings
        assert 0 < step < newest.step
        return f"said so, and went on at step {step} instead of {newest.step}"

    return happen


def refuse_checkpoints(
    damage: Callable[[Disk], AbstractContextManager[None]], error: int
) -> Callable[[Scene], str]:
    def happen(scene: Scene) -> str:
        scene.running()

        def look() -> str | None:
            scene.submit_if_idle()
            return scene.read(scene.has_log(f"could not be written ({os.strerror(error)})"))

        with scene.bad_disk(damage):
            line = wait_for(look, "a warning")
        return f"a job's log: “{line.partition(':')[0]}”; training went on"

    return happen


def keep_disk_full(scene: Scene) -> str:
    """Until a job has failed for it."""
    wait_for(lambda: scene.read(scene.have_ended), "the end of the jobs that the disk has room for")
    job = scene.submit(ENDLESS)
    scene.expected[job] = ("failed", "disk")
    scene.training(job, saved=2)

    def has_failed() -> bool:
        scene.release_hosts()
        return scene.status(job) == "failed"

    with scene.bad_disk(Disk.filled):
        wait_for(has_failed, "the job's failure")
    with scene.sessions.begin() as session:
        tries = session.query(Attempt).filter_by(job_id=job, end="disk").count()
    return f"`failed`, reason `disk`, after {tries} attempts; what SQL names is whole"


def run_out_of_memory(scene: Scene) -> str:
    group = MemoryGroup.make(megabytes=4)
    if group is None:
        raise NotMadeHere("no control group for memory can be made")
    try:
        job = scene.submit(LARGE)
        scene.expected[job] = ("failed", "oom")
        hit = scene.training(job)
        group.take(hit.process)
        attempt = scene.end_of(hit)
    finally:
        group.remove()
    assert attempt.end == "oom", (attempt.end, attempt.error)
    return f"by the kernel, in a control group: “{attempt.error}”"


def poison(scene: Scene) -> str:
    """A job that takes its process with it, each time."""
    scene.running()
    job = scene.submit(POISON)
    scene.expected[job] = ("failed", "error")
    for number in (1, 2):
        hit = scene.training(job, number)
        kill(hit.process)
        assert scene.end_of(hit).end == "lost"
    with scene.sessions.begin() as session:
        error = session.get_one(Job, job).error
        lines = session.query(LogLine).filter_by(job_id=job).count()
    assert f"process {hit.process} on" in (error or "")
    assert lines > 0
    return f"`failed` after {number} attempts, with {lines} lines of its log; the others went on"


def hang(scene: Scene) -> str:
    """A rank stands still for good, and the others wait for it."""
    job = scene.submit(ON_TWO_SLOTS, seed=0)
    hit = scene.training(job, saved=2)
    scene.ranks()[-1].send_signal(signal.SIGSTOP)
    attempt = scene.end_of(hit)
    assert attempt.end == "stalled", (attempt.end, attempt.error)
    stacks = (attempt.error or "").count("\nThread ")
    assert stacks > 1
    assert "launch.py" in (attempt.error or "")
    step = scene.first_step_after(hit)
    assert step > 0
    return f"attempt `stalled` with the stacks of {stacks} threads, the next one went on at step {step}"
