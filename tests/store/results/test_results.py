"""Rows of results."""

import math

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db.errors import BadCursor
from store.jobs import commands
from store.results import result_rows, series
from tests.support.factories import (
    acquire_job,
    make_cells,
    make_dataset,
    make_job,
    make_study,
    make_user,
    make_worker,
)
from trainer.events import EpochFinished, Started

Sessions = sessionmaker[Session]


def test_a_row_has_what_a_comparison_needs(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        study = make_study(session, make_user(session, "ada"), make_cells(("batch",), (3,)))
        assignment = acquire_job(session)
        assert assignment is not None
        for epoch in (1, 2):
            event = EpochFinished(epoch, epoch * 10, {"train_loss": 1.0}, best=True, seconds=0.5)
            commands.record_epoch(session, assignment.job_id, 1, event)
        commands.finish(
            session,
            assignment.job_id,
            1,
            reason="early_stopped",
            metrics={"test_accuracy": 0.9, "test_loss": math.inf},
            seconds_used=12.0,
        )

        row = result_rows.rows(session, study_id=study.id).items[0]

    times = {name: row.pop(name) for name in ("created_at", "started_at", "finished_at")}
    assert times["created_at"] <= times["started_at"] <= times["finished_at"]
    assert row == {
        "job_id": assignment.job_id,
        "study_id": study.id,
        "study": "norms",
        "project": "default",
        "owner": "ada",
        "name": "batch | seed 3",
        "variant": "batch",
        "point": {},
        "trial": None,
        "seed": 3,
        "status": "succeeded",
        "reason": "early_stopped",
        "metrics": {"test_accuracy": 0.9, "test_loss": None},
        "non_finite": {"test_loss": "inf"},
        "tags": [],
        "epochs": 2,
        "seconds": 12.0,
        "attempts": 1,
    }


def test_every_training_has_a_row_whatever_became_of_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_dataset(session, ready=False)
        alone = make_job(session, project="shelf")
        study = make_study(session)
        commands.request_action(session, alone, "cancel", "ada")

        assert len(result_rows.rows(session).items) == 5
        assert [row["status"] for row in result_rows.rows(session, project="shelf").items] == [
            "cancelled"
        ]
        assert len(result_rows.rows(session, study_id=study.id).items) == 4
        assert len(result_rows.rows(session, variant="batch").items) == 2
        assert len(result_rows.rows(session, status="queued", project="default").items) == 4
        assert result_rows.rows(session, owner="nobody").items == []


def test_rows_come_in_pages(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = make_study(session)
        whole = result_rows.rows(session, study_id=study.id)
        first = result_rows.rows(session, study_id=study.id, limit=3)
        second = result_rows.rows(session, study_id=study.id, limit=3, cursor=first.next_cursor)
        with pytest.raises(BadCursor):
            result_rows.rows(session, cursor="?", limit=3)

    assert [*first.items, *second.items] == whole.items
    assert whole.next_cursor is None
    assert second.next_cursor is None


def test_a_study_s_rows_say_what_was_trained_where_and_how_long_until_the_best(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        study = make_study(session, cells=make_cells(("batch",), (0, 1)))
        assignment = acquire_job(session)
        assert assignment is not None
        for environment in ({"torch": "1"}, {"torch": "2"}):
            started = Started(0, 0, 20, 9, (), environment, {"norm_parameters": 4})
            commands.record_start(session, assignment.job_id, 1, started)
        for epoch in (1, 2, 3):
            event = EpochFinished(epoch, epoch * 10, {"train_loss": 1.0}, best=True, seconds=0.5)
            commands.record_epoch(session, assignment.job_id, 1, event)
        metrics = {"best_epoch": 2.0}
        commands.finish(
            session, assignment.job_id, 1, reason="completed", metrics=metrics, seconds_used=9.0
        )

        first, second = result_rows.study_rows(session, study.id)

    assert (first.job_id, second.best_seconds) == (assignment.job_id, None)
    assert first.best_seconds == 1.0
    assert (first.environment, first.facts) == ({"torch": "2"}, {"norm_parameters": 4})
    assert first.spec["norm"]["kind"] == "batch"
    assert (second.environment, second.facts) == (None, None)


def test_first_steps_are_those_at_which_a_curve_crossed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        study = make_study(session, cells=make_cells(("batch",), (0, 1)))
        first, second = acquire_job(session), acquire_job(session)
        assert first is not None
        assert second is not None
        for epoch, value in ((1, 0.5), (2, 0.9), (3, 0.8)):
            metrics = {"val_accuracy": value, "val_loss": 1 - value}
            event = EpochFinished(epoch, epoch * 10, metrics, best=True, seconds=0.5)
            commands.record_epoch(session, first.job_id, 1, event)
        event = EpochFinished(1, 10, {"val_accuracy": math.nan}, best=False, seconds=0.5)
        commands.record_epoch(session, second.job_id, 1, event)

        assert series.first_steps(session, study.id, "val_accuracy", 0.8) == {first.job_id: 20}
        assert series.first_steps(session, study.id, "val_loss", 0.15) == {first.job_id: 20}
        assert series.first_steps(session, study.id, "val_loss", 0.05) == {}
