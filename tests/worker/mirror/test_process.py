"""The mirror as a process: it waits for what is away, stands by, and leaves when told."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from sqlalchemy import text

from runtime.helper_process import start_preloaded
from tests.support.mirrored import ProjectRows, Reader, mirror_environment
from tests.support.waiting import PATIENCE_SECONDS, wait_for
from worker.mirror.__main__ import Settings


class Mirror:
    """A running mirror and what it has logged."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        with log.open("wb") as stderr, open(os.devnull, "rb") as nothing:
            self.process = start_preloaded(
                [sys.executable, "-m", "worker.mirror"],
                mirror_environment(settings),
                stdin=nothing.fileno(),
                stderr=stderr.fileno(),
            )

    def has_said(self, event: str) -> bool:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return any(line["event"] == event for line in lines)

    def leave(self) -> None:
        """It ends by itself once it is told to; on a busy machine that takes a while."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.log.read_text()


@contextmanager
def running(settings: Settings, log: Path) -> Iterator[Mirror]:
    mirror = Mirror(settings, log)
    try:
        yield mirror
    finally:
        with suppress(psutil.NoSuchProcess):
            mirror.process.kill()
        mirror.process.wait()


class Door:
    """A port before MLflow's server, shut at first: connections are refused."""

    def __init__(self, behind: str) -> None:
        self._behind = int(behind.rsplit(":", 1)[1])
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def open(self) -> None:
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._socket.accept()
            server = socket.create_connection(("127.0.0.1", self._behind))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    # Either end may be gone first.
    with suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)


def test_a_mirror_waits_for_mlflow_and_catches_up(
    project_rows: ProjectRows, settings: Settings, reader: Reader, tmp_path: Path
) -> None:
    door = Door(settings.mlflow_url)
    outside = settings.model_copy(update={"mlflow_url": door.url})
    job = project_rows.add_finished_job(epochs=3)
    with running(outside, tmp_path / "log") as mirror:
        wait_for(lambda: mirror.has_said("mirror_waits"))
        assert reader.runs(project_rows.project) == []
        door.open()
        wait_for(
            lambda: any(one.info.status == "FINISHED" for one in reader.runs(project_rows.project))
        )
        mirror.leave()
    assert len(reader.points(reader.run_of(project_rows.project, job=job), "val/loss")) == 3


def test_a_second_mirror_stands_by_until_the_first_is_gone(
    project_rows: ProjectRows, settings: Settings, reader: Reader, tmp_path: Path
) -> None:
    with (
        running(settings, tmp_path / "first") as first,
        running(settings, tmp_path / "second") as second,
    ):
        both = (first, second)
        wait_for(lambda: any(one.has_said("mirror_works") for one in both))
        wait_for(lambda: any(one.has_said("mirror_stands_by") for one in both))
        works, waits = both if first.has_said("mirror_works") else (second, first)
        assert not waits.has_said("mirror_works")
        works.process.kill()
        works.process.wait()
        wait_for(lambda: waits.has_said("mirror_works"))
        job = project_rows.add_finished_job()
        wait_for(lambda: len(reader.runs(project_rows.project)) == 1)
        waits.leave()
    assert reader.run_of(project_rows.project, job=job)


def test_a_mirror_outlives_a_lost_database_connection(
    project_rows: ProjectRows, settings: Settings, reader: Reader, tmp_path: Path
) -> None:
    with running(settings, tmp_path / "log") as mirror:
        wait_for(lambda: mirror.has_said("mirror_works"))
        with project_rows.sessions.begin() as session:
            # Whoever holds an advisory lock here is the mirror.
            session.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            )
        project_rows.add_finished_job()
        wait_for(lambda: len(reader.runs(project_rows.project)) == 1)
        mirror.leave()
