"""Faults of the stack's own processes: killed, frozen, drained, doubled, exchanged for a later version."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

import psutil
from sqlalchemy import text
from sqlalchemy.orm import Session

from migrations.run import downgrade
from tests.support.cluster import Program
from tests.support.faults.machine import frozen, is_running
from tests.support.faults.scene import Running, Scene
from tests.support.waiting import PATIENCE_SECONDS, wait_for


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def interrupt(scene: Scene, strike: Callable[[Running], object], end: str, told: str = "") -> str:
    """Strikes an attempt in mid-training; it ends so, and the next one goes on where it was."""
    while True:
        hit = scene.running()
        strike(hit)
        attempt = scene.end_of(hit)
        # It may have completed just before.
        if attempt.end != "completed":
            break
    assert attempt.end == end, (attempt.end, attempt.error)
    assert told in (attempt.error or "")
    step = scene.first_step_after(hit)
    assert step > 0
    return f"attempt `{end}`, the next one went on at step {step}"


def kill_child(scene: Scene) -> str:
    # The parent's words, not those of the sweep that finds a lease that ran out.
    return interrupt(scene, lambda hit: kill(hit.process), "lost", "died")


def kill_parent(scene: Scene) -> str:
    return interrupt(scene, lambda _: scene.restart("worker", kill), "lost")


def kill_part(name: str) -> Callable[[Scene], str]:
    def happen(scene: Scene) -> str:
        scene.running()
        scene.restart(name, kill)
        return "restarted; what ran meanwhile went on"

    return happen


def kill_api_in_mid_post(scene: Scene) -> str:
    scene.running()
    orders = [scene.order() for _ in range(4)]
    unanswered = 0
    with ThreadPoolExecutor(len(orders)) as pool:
        placed = [pool.submit(scene.place, order) for order in orders]
        wait(placed, return_when=FIRST_COMPLETED)

        def strike(pid: int) -> None:
            nonlocal unanswered
            kill(pid)
            unanswered = sum(not one.done() for one in placed)

        scene.restart("api", strike)
        jobs = [one.result() for one in placed]
    assert len(set(jobs)) == len(orders)
    assert [scene.place(order) for order in orders] == jobs
    return (
        f"{unanswered} of {len(orders)} submissions were unanswered; all sent again: one job each"
    )


def keep_mlflow_down(scene: Scene) -> str:
    scene.running()
    restarts = scene.part("mlflow")["restarts"]
    until = time.monotonic() + scene.scale.away_seconds
    while time.monotonic() < until:
        # Also those that are started meanwhile.
        with suppress(psutil.NoSuchProcess, KeyError):
            psutil.Process(scene.pid("mlflow")).kill()
        time.sleep(0.2)
    scene.wait_for_restart("mlflow", restarts)
    return f"killed again and again for {scene.scale.away_seconds:g} s; MLflow has all since"


def drain(scene: Scene) -> str:
    seconds: list[float] = []

    def strike(hit: Running) -> None:
        worker = psutil.Process(scene.pid("worker"))
        asked_at = time.monotonic()
        scene.restart("worker", lambda _: _terminate(worker, seconds, asked_at))

    seen = interrupt(scene, strike, "drained")
    return f"{seen}; gone {seconds[-1]:.1f} s after SIGTERM"


def _terminate(worker: psutil.Process, seconds: list[float], asked_at: float) -> None:
    worker.terminate()
    wait_for(lambda: not is_running(worker), "the worker's end")
    seconds.append(time.monotonic() - asked_at)


def freeze_worker(scene: Scene) -> str:
    def strike(hit: Running) -> None:
        with frozen_worker(scene):
            # The sweep gives it up, and the row is another attempt's from then on.
            scene.end_of(hit)

    return interrupt(scene, strike, "lost", "did not renew its lease") + ", after the sweep had it"


@contextmanager
def frozen_worker(scene: Scene) -> Iterator[None]:
    """In the small round at a moment when it has no transaction open: PostgreSQL ends one only after a minute."""
    while True:
        with frozen(scene.family("worker")):
            if not scene.scale.is_small or not scene.read(_has_open_transaction):
                yield
                return


def _has_open_transaction(session: Session) -> bool:
    """Whether anything has one: all but what stands still have theirs for a moment only."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' "
        "AND pid <> pg_backend_pid()"
    )
    return bool(session.scalar(query))


def start_second_worker(scene: Scene) -> str:
    hit = scene.running()
    environment = psutil.Process(scene.pid("worker")).environ()
    environment["NORMLAB_HOST_LOCK_SECONDS"] = "0.5"
    second = Program("worker", environment, scene.home.logs / "second-worker.log")
    try:
        status = second.process.wait(PATIENCE_SECONDS)
    finally:
        second.end()
    assert status == 1
    assert "is in use by another worker" in second.log.read_text()
    assert scene.end_of(hit).end == "completed"
    return "the second was refused with exit status 1; the first one's attempt went on"


def migrate(scene: Scene) -> str:
    """As an upgrade does, from the version before the newest migration."""

    def strike(hit: Running) -> None:
        scene.engine.dispose()
        scene.stack.normlab("down")
        assert scene.stack.processes() == []
        scene.postgres.start()
        try:
            downgrade(scene.postgres.url("normlab"), "-1")
        finally:
            scene.postgres.stop()
        scene.stack.normlab("up", "--detach")

    return f"`down`, the newest migration, `up`: {interrupt(scene, strike, 'drained')}"
