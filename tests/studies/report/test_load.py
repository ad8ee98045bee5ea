"""A report from the database: what it says of a trained study, and in how many statements it is read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Study
from store.jobs import commands
from store.jobs.commands import NewJob
from store.studies import studies
from studies.claims.judge import read_claims
from studies.comparison.compare import read_comparison
from studies.report.load import read_report
from studies.report.page import make_page
from studies.spec.expand import expand
from tests.support.factories import acquire_job, make_user, make_worker
from tests.support.result_rows import ENVIRONMENT, FACTS, make_study
from trainer.events import Diagnosed, EpochFinished, Started

Sessions = sessionmaker[Session]

VARIANTS = ("none", "batch", "group")
FIELDS: dict[str, Any] = {
    "seeds": 3,
    "threshold": {"metric": "val_accuracy", "value": 0.6},
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 4},
        "diagnostics": {"kind": "epoch"},
    },
}
CLAIMED: dict[str, Any] = {
    "claims": [
        {
            "name": "better",
            "says": "batch is better",
            "statistic": "test_accuracy",
            "rising": ["none", "batch"],
        },
        {
            "name": "later",
            "says": "gradients grow",
            "statistic": {
                "kind": "look",
                "statistic": "gradient_norm",
                "layer": "first",
                "take": "max",
            },
            "rising": ["none", "group"],
        },
    ],
    "figure": [
        {"panel": "curves", "title": "curves", "column": "val_accuracy"},
        {"panel": "looks", "title": "gradients", "statistic": "gradient_norm"},
    ],
}


def train_study(session: Session, **fields: Any) -> Study:
    """A study whose jobs have ended; the second has diverged, and each has two looks into two layers."""
    spec = make_study(VARIANTS, **{**FIELDS, **fields})
    new = [NewJob(cell.spec, cell.name, cell.variant, cell.point) for cell in expand(spec)]
    document = spec.model_dump(mode="json")
    owner = make_user(session, "ada")
    study = studies.create(session, owner, document, spec.project, spec.name, new)
    make_worker(session)
    for number in range(len(new)):
        assignment = acquire_job(session)
        assert assignment is not None
        _train(session, assignment.job_id, assignment.attempt, number)
    return study


def _train(session: Session, job: int, attempt: int, number: int) -> None:
    started = Started(0, 0, 4, 100, (), ENVIRONMENT, FACTS)
    commands.record_start(session, job, attempt, started)
    for epoch in (1, 2, 3, 4):
        value = 0.2 * epoch + number / 100
        metrics = {"train_loss": 1 / epoch, "val_loss": 1 - value, "val_accuracy": value}
        finished = EpochFinished(epoch, 10 * epoch, metrics, best=True, seconds=0.5)
        commands.record_epoch(session, job, attempt, finished)
    for step in (10, 20):
        statistics = {"after_p50": step / 10 + number, "gradient_norm": step + number / 7}
        layers = {"norm1": statistics, "norm2": statistics, "network": {"loss_gap": 0.1}}
        commands.record_diagnosis(session, job, attempt, Diagnosed(step // 10, step, layers))
    accuracy = float("nan") if number == 1 else 0.7 + number / 37
    metrics = {
        "test_accuracy": accuracy,
        "best_val_accuracy": accuracy,
        "best_epoch": 4.0,
        "epochs": 4.0,
    }
    reason = "diverged" if number == 1 else "completed"
    commands.finish(session, job, attempt, reason=reason, metrics=metrics, seconds_used=2.0)


@contextmanager
def counted(sessions: Sessions) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    engine = sessions.kw["bind"]
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


#: Statements by what is read: two for the jobs and the steps to the threshold, two for curves and snapshots; the
#: rest are the project, the owner, files, counts, links to MLflow, data sets, and the diagnostics that are shown.
@pytest.mark.parametrize(
    ("fields", "comparison", "claims", "report"),
    [({}, 2, 0, 11), (CLAIMED, 2, 4, 11)],
    ids=["without claims", "with claims"],
)
def test_a_study_is_read_once(
    sessions: Sessions,
    tmp_path: Path,
    fields: dict[str, Any],
    comparison: int,
    claims: int,
    report: int,
) -> None:
    with sessions.begin() as session:
        number = train_study(session, **fields).id
    reads: dict[str, Callable[[Session, Study], Any]] = {
        "comparison": read_comparison,
        "claims": read_claims,
        "report": lambda session, study: read_report(
            session, study, tmp_path, "http://mlflow.test"
        ),
    }
    counts = {}
    for name, read in reads.items():
        with sessions.begin() as session:
            study = studies.find(session, number)
            assert study is not None
            with counted(sessions) as statements:
                read(session, study)
        counts[name] = len(statements)
        of_jobs = [one for one in statements if "jobs.environment" in one or "jobs.facts" in one]
        assert len(of_jobs) <= 1
    assert counts == {"comparison": comparison, "claims": claims, "report": report}


def test_a_report_of_a_study_with_claims_shows_what_was_recorded(
    sessions: Sessions, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        number = train_study(session, **CLAIMED).id
    with sessions.begin() as session:
        study = studies.find(session, number)
        assert study is not None
        report = read_report(session, study, tmp_path, None)
        assert report.comparison == read_comparison(session, study)
        assert report.claims == read_claims(session, study)
    assert [one.epoch for one in (job.curve for job in report.jobs)] == [(1, 2, 3, 4)] * 9
    shown = [(one.variant, one.layer, one.steps) for one in report.fans]
    assert shown == [
        (variant, layer, (10, 20)) for variant in VARIANTS for layer in ("norm1", "norm2")
    ]
    assert [panel.kind for panel in report.panels] == ["lines", "lines"]


@pytest.mark.parametrize("fields", [{}, CLAIMED], ids=["without claims", "with claims"])
def test_a_page_says_the_same_without_what_only_figures_show(
    sessions: Sessions, tmp_path: Path, fields: dict[str, Any]
) -> None:
    with sessions.begin() as session:
        number = train_study(session, **fields).id
    with sessions.begin() as session:
        study = studies.find(session, number)
        assert study is not None
        whole = read_report(session, study, tmp_path, None)
        with counted(sessions) as statements:
            bare = read_report(session, study, tmp_path, None, with_figures=False)
    assert make_page(bare) == make_page(whole)
    assert bare.panels == whole.panels
    # Thousands of rows, of which a page of a study without claims shows nothing.
    assert any("epochs.train_loss" in one for one in statements) == bool(fields)
    assert not any(job.curve.epoch for job in bare.jobs)
