"""A process that forks programs and helpers as the stack's do (`runtime.preload`): each would else load torch anew."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.preloaded import ROOM, VARIABLE, is_possible, listen, make_room

#: What workers, mirrors and their helpers import.
_MODULES = (
    "worker.__main__",
    "trainer.checks.__main__:load_libraries",
    "trainer.ranks.__main__",
    "mlflow.tracking",
    "worker.mirror.__main__",
    "worker.sweep.__main__",
    "studies.figures.__main__",
)
_PROGRAMS = ("worker", "worker.sweep", "worker.mirror", "tests.support.killed_mirror")
_HELPERS = ("trainer.checks", "trainer.ranks", "worker.mirror.model_export", "studies.figures")


@contextmanager
def running_preload(
    folder: Path, *modules: str
) -> "Iterator[tuple[Path, subprocess.Popen[bytes]]]":
    """Its socket and itself; it also finds modules in the folder."""
    path = folder / f"{len(list(folder.iterdir()))}.sock"
    places = os.pathsep.join([str(Path.cwd()), str(folder)])
    environment = make_room({**os.environ, "PYTHONPATH": places})
    with listen(path) as listening:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.preload", *modules, ROOM],
            stdin=listening.fileno(),
            env=environment,
        )
    try:
        yield path, process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """From now on, workers, mirrors and their helpers are forked by one process."""
    if not is_possible():
        yield
        return
    with (
        running_preload(tmp_path_factory.mktemp("preload"), *_MODULES) as (path, _),
        pytest.MonkeyPatch.context() as patch,
    ):
        sockets = {module: str(path) for module in (*_PROGRAMS, *_HELPERS)}
        patch.setenv(VARIABLE, json.dumps(sockets))
        yield
