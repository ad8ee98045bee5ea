"""What is kept of a study with claims once its jobs have ended: verdicts in SQL, figure and report as files."""

from collections.abc import Iterator

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import digest_of
from runtime.storage import Storage, write
from runtime.tracing import NO_TRACES, Traces, traced
from store.db import DATABASE_AWAY, database_now
from store.studies import Kept, KeptFile, studies, verdicts
from studies.claims import ClaimVerdict
from studies.rendering import (
    Renderer,
    RenderingFailed,
    RenderingStopped,
    draw_figure,
    draw_report,
    fill_links,
    report_links,
)
from studies.report import ReportInput, available_figures, fetch_arrays, read_report

log = structlog.get_logger(__name__)

AT_ONCE = 4
#: The figures that are kept: what the study itself says it shows.
KEPT_FIGURES = ("figure",)


def judge_ended(
    sessions: sessionmaker[Session],
    storage: Storage,
    renderer: Renderer | None = None,
    traces: Traces = NO_TRACES,
) -> list[int]:
    """The studies that were judged; those whose verdicts are up to date are left alone."""
    renderer = renderer or Renderer()
    with sessions.begin() as session:
        due = {study.id: study.trace_context for study in verdicts.due(session, AT_ONCE)}
    for study_id, context in due.items():
        try:
            with traced(traces, "judge", context, study=study_id) as attributes:
                said = _judge(sessions, storage, renderer, study_id)
                attributes |= {f"normlab.verdict.{name}": word for name, word in said.items()}
        except RenderingStopped:
            break
        except DATABASE_AWAY:
            raise
        except Exception:
            # One study must not keep the others from their verdicts; it is tried again when it changes.
            log.exception("claims could not be judged", study=study_id)
            with sessions.begin() as session:
                verdicts.set_aside(session, study_id, database_now(session))
    return list(due)


def _judge(
    sessions: sessionmaker[Session], storage: Storage, renderer: Renderer, study_id: int
) -> dict[str, str]:
    """The verdicts that are kept, by claim."""
    fetch_arrays(sessions, study_id, storage)
    with sessions.begin() as session:
        at = database_now(session)
        study = studies.find(session, study_id)
        if study is None:
            return {}
        report = read_report(session, study, storage.root, None)
    files = list(_keep_files(report, storage, renderer))
    with sessions.begin() as session:
        if not verdicts.keep(session, study, at, [_kept(one) for one in report.claims], files):
            return {}
    said: dict[str, str] = {one.name: one.verdict for one in report.claims}
    log.info("claims are judged", study=study_id, verdicts=said)
    return said


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


def _keep_files(report: ReportInput, storage: Storage, renderer: Renderer) -> Iterator[KeptFile]:
    """Copies, which stay as they are when the study is extended and drawn again."""
    folder = f"studies/{report.study_id}/ended"
    for name, content in _render(report, storage, renderer).items():
        path = f"{folder}/{name}"
        try:
            write(storage, path, content)
        except OSError as error:
            log.warning(
                "a study's file can't be kept", study=report.study_id, file=name, error=str(error)
            )
            continue
        yield KeptFile(name=name, path=path, digest=digest_of(content), bytes=len(content))


def _render(report: ReportInput, storage: Storage, renderer: Renderer) -> dict[str, bytes]:
    """By name of its file. What can't be drawn costs its file, not the verdicts."""
    kept = [figure.name for figure in available_figures(report) if figure.name in KEPT_FIGURES]
    try:
        drawn = draw_report(report, storage, renderer)
        page = fill_links(drawn.page, report_links(report))
        return {**{f"{name}.png": drawn.figures[name] for name in kept}, "report.html": page}
    except RenderingStopped:
        raise
    except RenderingFailed as error:
        log.warning("a study's report can't be drawn", study=report.study_id, error=str(error))
    try:
        return {f"{name}.png": draw_figure(report, name, renderer) for name in kept}
    except RenderingStopped:
        raise
    except RenderingFailed as error:
        log.warning("a study's figure can't be drawn", study=report.study_id, error=str(error))
        return {}
