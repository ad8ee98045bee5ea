"""Faults of PostgreSQL and Redis: killed with what they hold, frozen, restarted, away for long."""

import os
import signal
import time

import psutil

from tests.support.faults.machine import frozen, is_running
from tests.support.faults.processes import kill
from tests.support.faults.scene import Scene
from tests.support.faults.trainings import LEASE_SECONDS
from tests.support.waiting import wait_for


def kill_redis(scene: Scene) -> str:
    scene.running()

    def strike(pid: int) -> None:
        kill(pid)
        scene.submit()

    scene.restart("redis", strike)
    scene.submit()
    return "its data are gone; what was submitted meanwhile was done"


def freeze_redis(scene: Scene) -> str:
    scene.running()
    with frozen(scene.family("redis")):
        scene.submit()
        time.sleep(scene.scale.frozen_seconds)
    return f"{scene.scale.frozen_seconds:g} s; a submission was answered meanwhile"


def freeze_postgres(scene: Scene) -> str:
    scene.running()
    with frozen(scene.family("postgres")):
        time.sleep(scene.scale.frozen_seconds)
    return f"{scene.scale.frozen_seconds:g} s"


def restart_postgres(scene: Scene) -> str:
    hit = scene.running()
    # Its fast shutdown.
    scene.restart("postgres", lambda pid: os.kill(pid, signal.SIGINT))
    attempt = scene.end_of(hit)
    assert attempt.end == "completed", (attempt.end, attempt.error)
    return "the same attempt went on"


def stop_postgres(scene: Scene) -> str:
    scene.running()
    before = scene.part("postgres")
    server = psutil.Process(before["pid"])
    # It would start the server again at once.
    with frozen([psutil.Process(scene.home.read_state()["supervisor"]["pid"])]):
        server.send_signal(signal.SIGINT)
        wait_for(lambda: not is_running(server), "PostgreSQL's end")
        time.sleep(LEASE_SECONDS * 1.5)
    scene.wait_for_restart("postgres", before["restarts"])
    return f"{LEASE_SECONDS * 1.5:g} s, with leases of {LEASE_SECONDS:g} s"
