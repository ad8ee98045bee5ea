"""The network-aware check, asked of one supervised helper process.

The helper is warm before the first request, dies beyond its time or memory, and is started again.
A spec is never called good without its answer.
"""

import base64
import hashlib
import importlib.metadata
import json
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog

from api.helper import Helper, HelperGone, TooBig
from trainer.spec import DatasetInfo, JobSpec
from trainer.spec.preview import ClassPictures, Preview
from trainer.spec.report import Problem, Report

COMMAND = (sys.executable, "-m", "trainer.check", "--serve")
#: What the helper's answer depends on besides its question.
LIBRARIES = ("torch", "torchvision", "timm")
#: What no check looks at; the optimizer and the schedule may be looked at for warnings.
UNCHECKED = {"seed", "project", "resources"}
#: More than the cells of the largest study, so that one checked in parts gets through.
CACHED_ANSWERS = 20_000
WATCH_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

log = structlog.get_logger(__name__)


class CheckerUnavailable(Exception):
    """The check can't be made now; come back after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CheckFailed(Exception):
    """The check itself is wrong: it has no answer to a valid spec."""


class NoPicture(Exception):
    """There is no picture of this dataset; the message says why."""


class Checker:
    """Starts the helper, keeps it alive, asks it and remembers its answers; safe for many threads."""

    def __init__(
        self,
        *,
        seconds: float,
        megabytes: int,
        start_seconds: float,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._seconds = seconds
        self._megabytes = megabytes
        self._start_seconds = start_seconds
        self._command = command
        self._helper: Helper | None = None
        self._is_warm = False
        self._is_closing = False
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._answers: OrderedDict[str, Report] = OrderedDict()
        self._versions = _versions()
        self._supervisor = threading.Thread(target=self._supervise, name="checker", daemon=True)

    def start(self) -> None:
        """Begins to start the helper in the background."""
        self._supervisor.start()

    def close(self) -> None:
        with self._changed:
            self._is_closing = True
            if self._helper:
                self._helper.close()
            self._changed.notify_all()
        self._supervisor.join()

    @property
    def is_ready(self) -> bool:
        return self._is_warm

    @property
    def pid(self) -> int | None:
        return self._helper.pid if self._helper else None

    def check(self, spec: JobSpec, info: DatasetInfo, seconds: float | None = None) -> Report:
        """What the helper says of the spec, asked within so many seconds; raises `CheckerUnavailable`."""
        key = self._key(spec, info)
        answer = self._answers.get(key)
        if answer is None:
            limit = self._seconds if seconds is None else min(seconds, self._seconds)
            try:
                answer = _report(self._ask(_question(spec, info), limit))
            except TooBig as error:
                # Not remembered: the memory is all that the helper holds, and the next one starts small.
                return Report(problems=(_too_big(error),))
            self._remember(key, answer)
        return answer

    def preview(self, spec: Preview, info: DatasetInfo, folder: Path) -> bytes:
        """A PNG of augmented images; raises `CheckerUnavailable`, or `NoPicture`."""
        return self._draw({"preview": spec.model_dump(mode="json")}, info, folder)

    def draw_classes(self, wanted: ClassPictures, info: DatasetInfo, folder: Path) -> bytes:
        """A PNG of training images of each class; raises as `preview`."""
        return self._draw({"classes": wanted.model_dump(mode="json")}, info, folder)

    def _draw(self, what: dict[str, Any], info: DatasetInfo, folder: Path) -> bytes:
        place = {"info": info.model_dump(mode="json"), "folder": str(folder)}
        try:
            answer = self._ask({**what, **place}, self._seconds)
        except TooBig as error:
            raise NoPicture(f"drawing the picture {error}") from error
        if "refused" in answer:
            raise NoPicture(answer["refused"])
        if "picture" not in answer:
            raise CheckFailed(answer.get("error"))
        return base64.b64decode(answer["picture"])

    def _key(self, spec: JobSpec, info: DatasetInfo) -> str:
        question = [spec.model_dump_json(exclude=UNCHECKED), info.model_dump_json(), self._versions]
        return hashlib.blake2b(json.dumps(question).encode(), digest_size=16).hexdigest()

    def _remember(self, key: str, answer: Report) -> None:
        with self._changed:
            self._answers[key] = answer
            while len(self._answers) > CACHED_ANSWERS:
                self._answers.popitem(last=False)

    def _ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise CheckerUnavailable("the check is busy with other specs")
        try:
            helper = self._warm_helper(deadline)
            # Its full time, however long this had to wait: a good helper must not die of its queue.
            return helper.exchange({"id": 1, **question}, self._seconds)
        except TooBig:
            raise
        except HelperGone as error:
            log.warning("the helper that checks specs is gone", why=str(error))
            raise CheckerUnavailable(f"the helper that checks specs {error}") from error
        finally:
            self._turn.release()

    def _warm_helper(self, deadline: float) -> Helper:
        with self._changed:
            self._changed.wait_for(self._has_warm_helper, deadline - time.monotonic())
            if self._helper is None or not self._has_warm_helper():
                raise CheckerUnavailable("the helper that checks specs is still starting")
            return self._helper

    def _has_warm_helper(self) -> bool:
        return self._is_warm and self._helper is not None and self._helper.is_running()

    def _supervise(self) -> None:
        pause = WATCH_SECONDS
        while not self._is_closing:
            try:
                self._run_one()
                pause = WATCH_SECONDS
            except (HelperGone, OSError):
                log.exception("the helper that checks specs did not start")
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            with self._changed:
                self._is_warm = False
                self._changed.wait_for(lambda: self._is_closing, pause)

    def _run_one(self) -> None:
        """From a helper's start to its end."""
        with self._changed:
            if self._is_closing:
                return
            self._helper = helper = Helper(self._command, self._megabytes)
        with closing(helper):
            self._versions = _versions()
            helper.wait_until_ready(self._start_seconds)
            with self._changed:
                self._is_warm = True
                self._changed.notify_all()
            while helper.is_running():
                time.sleep(WATCH_SECONDS)


def _question(spec: JobSpec, info: DatasetInfo) -> dict[str, Any]:
    return {"spec": spec.model_dump(mode="json"), "info": info.model_dump(mode="json")}


def _report(answer: dict[str, Any]) -> Report:
    if "report" not in answer:
        raise CheckFailed(answer.get("error"))
    return Report.model_validate(answer["report"])


def _too_big(error: TooBig) -> Problem:
    return Problem(
        pointer="/model",
        detail=f"checking the model {error}",
        remedy="choose a smaller model, image size or batch size",
    )


def _versions() -> str:
    return ",".join(f"{name}={_version(name)}" for name in LIBRARIES)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
