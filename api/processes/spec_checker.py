"""The network-aware check, asked of a few helper processes.

A server loads torch once and forks them. A helper ends beyond its CPU time or memory, or when it hangs, and the
next one is ready at once. A spec is never called good without an answer.
"""

import base64
import importlib.metadata
import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trainer
from api.processes.check_queue import CheckQueue, Closed, NoPlace, NotYet, Read, Work
from api.processes.helper_pool import HelperPool
from api.processes.kept_answers import MOST_FILES, KeptAnswers
from runtime.files import digest_of, digest_of_parts
from runtime.supervision import HelperGone, Limits, TooBig, TooSlow
from trainer.spec import (
    NEUTRAL_RESOURCES,
    ClassPictures,
    DatasetInfo,
    JobSpec,
    Preview,
    Problem,
    Report,
)

COMMAND = (sys.executable, "-m", "trainer.checks", "--serve")
#: What the helper's answer depends on besides its question and our code.
LIBRARIES = ("torch", "torchvision", "timm")
#: What no check looks at; the optimizer and the schedule may be looked at for warnings.
UNCHECKED: Mapping[str, Any] = {"seed": True, "project": True, "resources": NEUTRAL_RESOURCES}


class CheckerUnavailable(Exception):
    """The check is not possible now; try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CheckFailed(Exception):
    """The check itself failed: it gave no answer to a valid spec."""


class NoPicture(Exception):
    """The image cannot be drawn; the message says why."""


class StillChecking(CheckerUnavailable):
    """The check was not done while the request waited; the same request may find its answer later."""


class Checker:
    """Starts the helpers, keeps them alive, asks them and keeps their answers; safe for many threads.

    `person`: whose request it is, for everybody's fair turn.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        start_seconds: float,
        wait_seconds: float,
        helpers: int,
        places: int,
        folder: Path,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`wait_seconds` of a request; `places` of one person; `folder` for the answers."""
        self._wait_seconds = wait_seconds
        self._queue = CheckQueue(helpers=helpers, places=places)
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, Report] = OrderedDict()
        self._kept = KeptAnswers(folder)
        self._read_versions()
        self._pool = HelperPool(
            self._queue,
            command,
            limits,
            start_seconds=start_seconds,
            helpers=helpers,
            before_start=self._read_versions,
        )

    def start(self) -> None:
        """Begins to start the helpers' server in the background."""
        self._pool.start()

    def close(self) -> None:
        self._queue.close()
        self._pool.close()

    @property
    def is_ready(self) -> bool:
        return self._pool.is_ready

    @property
    def pids(self) -> list[int]:
        """Of the helpers."""
        return self._pool.pids

    def check(
        self,
        spec: JobSpec,
        info: DatasetInfo,
        person: int,
        seconds: float | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Report:
        """The helper's report on the spec, within this many seconds; raises `CheckerUnavailable`. `source`: spec and info
        of the job whose weights it begins from, as documents."""
        # First the memory of this process, then the folder, which outlives it and which other processes
        # share.
        key = self._key(spec, info, source)
        if (kept := self._answers.get(key) or self._kept.read(key)) is not None:
            self._remember(key, kept)
            return kept
        limit = self._wait_seconds if seconds is None else min(seconds, self._wait_seconds)
        question = {
            "spec": spec.model_dump(mode="json"),
            "info": info.model_dump(mode="json"),
            "source": source,
        }
        try:
            report: Report = self._ask(
                person, question, limit, lambda answer: self._keep(key, answer), key
            )
        except (TooBig, TooSlow) as error:
            # Not kept: the limit may be another one when it is asked again.
            return Report(problems=(_over_limit(error),))
        return report

    def preview(self, spec: Preview, info: DatasetInfo, folder: Path, person: int) -> bytes:
        """A PNG of augmented images; raises `CheckerUnavailable`, or `NoPicture`."""
        return self._draw({"preview": spec.model_dump(mode="json")}, info, folder, person)

    def draw_classes(
        self, wanted: ClassPictures, info: DatasetInfo, folder: Path, person: int
    ) -> bytes:
        """A PNG of training images of each class; raises as `preview`."""
        return self._draw({"classes": wanted.model_dump(mode="json")}, info, folder, person)

    def _draw(self, what: dict[str, Any], info: DatasetInfo, folder: Path, person: int) -> bytes:
        question = {**what, "info": info.model_dump(mode="json"), "folder": str(folder)}
        try:
            picture: bytes = self._ask(person, question, self._wait_seconds, _picture)
        except (TooBig, TooSlow) as error:
            raise NoPicture(f"drawing the picture {error}") from error
        return picture

    def _read_versions(self) -> None:
        """Another version of anything that answers is another question."""
        self._versions = _versions()

    def _key(
        self, spec: JobSpec, info: DatasetInfo, source: Mapping[str, Any] | None = None
    ) -> str:
        # The seed is not part of it: all seeds of an arm are one question. The versions are: after an
        # upgrade of torch or of our checks an old "yes" may be wrong.
        parts: list[Any] = [
            spec.model_dump_json(exclude=dict(UNCHECKED)),
            info.model_dump_json(),
            self._versions,
        ]
        return _digest(parts if source is None else [*parts, source])

    def _keep(self, key: str, answer: Mapping[str, Any]) -> Report:
        report = _report(answer)
        self._remember(key, report)
        self._kept.write(key, report)
        return report

    def _remember(self, key: str, answer: Report) -> None:
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            # The one that was asked for the longest ago goes first; it is still in the folder.
            while len(self._answers) > MOST_FILES:
                self._answers.popitem(last=False)

    def _ask(
        self,
        person: int,
        question: Mapping[str, Any],
        seconds: float,
        read: Read,
        key: str | None = None,
    ) -> Any:
        """What `read` makes of the answer; raises `CheckerUnavailable`, `TooBig` or `TooSlow`."""
        try:
            return self._queue.ask(person, Work(key or _digest(question), question, read), seconds)
        except (TooBig, TooSlow):
            # The same spec would need as much again: this is no outage.
            raise
        except HelperGone as error:
            raise CheckerUnavailable(f"the helper that checks specs {error}") from error
        except NoPlace as error:
            # Those who wait before them take longer than a moment.
            raise CheckerUnavailable(f"the check is busy: {error}", retry_after=10) from error
        except NotYet as error:
            raise StillChecking(self._why_not_yet(error.is_running)) from error
        except Closed as error:
            raise CheckerUnavailable("the service is being stopped") from error

    def _why_not_yet(self, is_running: bool) -> str:
        if is_running:
            return "the check takes longer than a request may wait; it continues, and its answer is cached"
        if not self.is_ready:
            return "the helper that checks specs is still starting"
        return "the check is busy with other specs"


def _report(answer: Mapping[str, Any]) -> Report:
    if "report" not in answer:
        raise CheckFailed(answer.get("error"))
    return Report.model_validate(answer["report"])


def _over_limit(error: TooBig | TooSlow) -> Problem:
    setting = "NORMLAB_CHECK_MEGABYTES" if isinstance(error, TooBig) else "NORMLAB_CHECK_SECONDS"
    return Problem(
        pointer="/model",
        detail=f"checking the model {error}",
        remedy="choose a smaller model, image size or batch size; "
        f"the operator of the service can raise the limit ({setting})",
    )


def _picture(answer: Mapping[str, Any]) -> bytes:
    if "refused" in answer:
        raise NoPicture(answer["refused"])
    if "picture" not in answer:
        raise CheckFailed(answer.get("error"))
    return base64.b64decode(answer["picture"])


def _digest(value: Any) -> str:
    return digest_of(json.dumps(value))


def _versions() -> str:
    """Of the libraries and of our own code."""
    libraries = ",".join(f"{name}={_version(name)}" for name in LIBRARIES)
    [folder] = trainer.__path__
    # `rglob`, since the code is in folders within folders; sorted, because the file system promises no order
    # and the digest depends on it.
    code = digest_of_parts(path.read_bytes() for path in sorted(Path(folder).rglob("*.py")))
    return f"{libraries},trainer={code}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
