"""What is kept of a study with claims once its jobs have ended: verdicts in SQL, figure and report as files.
Needs no MLflow; draws in a process of its own."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import digest_of, write_file
from store.db import DATABASE_AWAY, database_now
from store.studies import Kept, KeptFile, studies, verdicts
from studies.claims import ClaimVerdict
from studies.report import ReportInput, present, read_report

log = structlog.get_logger(__name__)

AT_ONCE = 4
DRAWING_SECONDS = 120.0
#: The figures that are kept: what the study itself says it shows.
KEPT_FIGURES = ("figure",)


class Stopped(Exception):
    """The process that draws was ended, because this one ends."""


class Pen:
    """Draws in a process of its own, one at a time; `stop` ends the one that runs, and no other begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def draw(self, content: bytes, arguments: list[str]) -> bytes:
        """Raises Stopped, or SubprocessError where it fails or takes too long."""
        command = [sys.executable, "-m", "studies.figures", *arguments]
        with self._lock:
            if self._is_stopped:
                raise Stopped
            self._child = child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        try:
            drawn, _ = child.communicate(content, timeout=DRAWING_SECONDS)
        finally:
            child.kill()
            child.wait()
        if self._is_stopped:
            raise Stopped
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
        return drawn

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            if self._child is not None:
                self._child.kill()


def judge_ended(
    sessions: sessionmaker[Session], storage: Path, pen: Pen | None = None
) -> list[int]:
    """The studies that were judged; those whose verdicts are up to date are left alone."""
    pen = pen or Pen()
    with sessions.begin() as session:
        due = [study.id for study in verdicts.due(session, AT_ONCE)]
    for study_id in due:
        try:
            _judge(sessions, storage, pen, study_id)
        except Stopped:
            break
        except DATABASE_AWAY:
            raise
        except Exception:
            # One study must not keep the others from their verdicts; it is tried again when it changes.
            log.exception("claims could not be judged", study=study_id)
            with sessions.begin() as session:
                verdicts.set_aside(session, study_id, database_now(session))
    return due


def _judge(sessions: sessionmaker[Session], storage: Path, pen: Pen, study_id: int) -> None:
    with sessions.begin() as session:
        at = database_now(session)
        study = studies.find(session, study_id)
        if study is None:
            return
        report = read_report(session, study, storage, None)
    files = list(_files(report, storage, pen))
    with sessions.begin() as session:
        if not verdicts.keep(session, study, at, [_kept(one) for one in report.claims], files):
            return
    said = {one.name: one.verdict for one in report.claims}
    log.info("claims are judged", study=study_id, verdicts=said)


def _kept(one: ClaimVerdict) -> Kept:
    return Kept(
        claim=one.name,
        verdict=one.verdict,
        n=one.n,
        p_value=one.p_value,
        p_adjusted=one.p_adjusted,
        sentence=one.sentence,
        answer=one.model_dump(mode="json"),
    )


def _files(report: ReportInput, storage: Path, pen: Pen) -> Iterator[KeptFile]:
    """A drawing that fails costs its file, not the verdicts."""
    shown = {one.name for one in present(report)}
    wanted = {f"{name}.png": ["figure", name] for name in KEPT_FIGURES if name in shown}
    content = report.model_dump_json().encode()
    for name, arguments in {**wanted, "report.html": ["html"]}.items():
        path = Path("studies") / str(report.study_id) / "ended" / name
        try:
            drawn = pen.draw(content, arguments)
            write_file(storage / path, drawn)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning(
                "a study's file can't be made", study=report.study_id, file=name, error=str(error)
            )
            continue
        digest = digest_of(drawn)
        yield KeptFile(name=name, path=str(path), digest=digest, bytes=len(drawn))
