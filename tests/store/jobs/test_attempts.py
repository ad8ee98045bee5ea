"""What a running attempt writes, the fence around it, and how it ends."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from store.db.engine import database_now
from store.db.errors import LostLease
from store.db.models import Job, Lease
from store.jobs import commands, leases
from store.jobs.acquire import Assignment
from store.jobs.attempts import End
from store.results import result_rows
from tests.support.factories import acquire_job, make_job, make_user, make_worker
from tests.support.notifications import hear_of_jobs
from trainer.code_versions import GENERATIONS
from trainer.events import (
    CheckpointSaved,
    Diagnosed,
    EpochFinished,
    EvaluationFinished,
    FileWritten,
    Started,
)

Sessions = sessionmaker[Session]
EPOCH = EpochFinished(
    epoch=1, step=10, metrics={"train_loss": 0.5, "val_accuracy": 0.9}, best=True, seconds=1.5
)
LOOK = Diagnosed(
    epoch=1, step=10, layers={"norm1": {"before_p50": 0.5}, "network": {"loss_gap": math.nan}}
)


@pytest.fixture
def assignment(sessions: Sessions) -> Assignment:
    """A running job's assignment; its host has one more slot."""
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        make_job(session, make_user(session, "ada"))
        assignment = acquire_job(session)
    assert assignment is not None
    return assignment


def read_job(session: Session, assignment: Assignment) -> Job:
    return session.get_one(Job, assignment.job_id, populate_existing=True)


WRITES: dict[str, Callable[[Session, int, int], Any]] = {
    "renew": lambda s, job, attempt: commands.renew(s, job, attempt, 60.0, 1.0),
    "start": lambda s, job, attempt: commands.record_start(s, job, attempt, Started(0, 0, 20, 100)),
    "step": lambda s, job, attempt: commands.record_step(s, job, attempt, 3),
    "epoch": lambda s, job, attempt: commands.record_epoch(s, job, attempt, EPOCH),
    "diagnosis": lambda s, job, attempt: commands.record_diagnosis(s, job, attempt, LOOK),
    "checkpoint": lambda s, job, attempt: commands.record_checkpoint(
        s, job, attempt, saved("last", 1)
    ),
    "evaluation": lambda s, job, attempt: commands.record_evaluation(
        s, job, attempt, EvaluationFinished("test", {"test_accuracy": 0.5})
    ),
    "file": lambda s, job, attempt: commands.record_file(
        s, job, attempt, FileWritten("grid", "a/grid.npy", "d", 1)
    ),
    "log": lambda s, job, attempt: commands.record_log(s, job, attempt, [("info", "hello")]),
    "finish": lambda s, job, attempt: commands.finish(s, job, attempt, reason="completed"),
    "fail": lambda s, job, attempt: commands.fail(s, job, attempt, "disk", "no space"),
    "end": lambda s, job, attempt: commands.end_attempt(s, job, attempt, "drained"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_an_attempt_that_lost_its_job_can_write_nothing(
    sessions: Sessions, assignment: Assignment, write: Callable[[Session, int, int], Any]
) -> None:
    with sessions.begin() as session:
        commands.end_attempt(session, assignment.job_id, 1, "lost")
        with pytest.raises(LostLease):
            write(session, assignment.job_id, 1)
    with sessions.begin() as session:
        again = acquire_job(session)
    assert again is not None
    with sessions.begin() as session:
        with pytest.raises(LostLease):
            write(session, assignment.job_id, 1)
        write(session, assignment.job_id, 2)


def test_a_renewal_prolongs_the_lease_and_brings_the_requested_action(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        assert commands.renew(session, assignment.job_id, 1, 500.0, 1.0) == commands.Renewed(None)
        commands.request_action(session, read_job(session, assignment), "pause", "bob")
        assert commands.renew(session, assignment.job_id, 1, 500.0, 1.0).requested_action == "pause"

        left = session.scalars(select(Lease.expires_at)).one() - database_now(session)

    assert 490 < left.total_seconds() <= 500


def test_a_lease_that_ran_out_is_renewed_while_it_was_not_swept(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        commands.renew(session, assignment.job_id, 1, -1.0, 1.0)
        assert leases.expired(session)
        commands.renew(session, assignment.job_id, 1, 60.0, 1.0)
        assert leases.release_expired(session) == []


def test_the_time_used_is_summed_over_attempts_and_heard_twice_counts_once(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        commands.renew(session, assignment.job_id, 1, 60.0, 5.0)
        commands.renew(session, assignment.job_id, 1, 60.0, 5.0)
        commands.end_attempt(session, assignment.job_id, 1, "drained", seconds_used=7.0)
        again = acquire_job(session)
        assert again is not None
        assert again.seconds_used == 7.0
        commands.finish(session, assignment.job_id, 2, reason="completed", seconds_used=3.0)
        assert read_job(session, assignment).seconds_used == 10.0


def test_the_start_is_recorded(sessions: Sessions, assignment: Assignment) -> None:
    started = Started(
        40, 2, 100, 1234, ("a norm without producer",), {"torch": "2.9"}, {"norm_parameters": 8}
    )
    with sessions.begin() as session:
        commands.record_start(session, assignment.job_id, 1, started)

        job = read_job(session, assignment)
        attempt = result_rows.attempts(session, assignment.job_id)[0]

    assert (job.step, job.total_steps, job.warnings) == (40, 100, ["a norm without producer"])
    assert job.facts == {"norm_parameters": 8}
    assert (attempt.first_step, attempt.environment) == (40, {"torch": "2.9"})


def test_a_changed_environment_is_a_warning(sessions: Sessions, assignment: Assignment) -> None:
    with sessions.begin() as session:
        commands.record_start(
            session, assignment.job_id, 1, Started(0, 0, 9, 9, (), {"torch": "2.9", "cpu": "x"})
        )
        commands.end_attempt(session, assignment.job_id, 1, "drained")
        acquire_job(session)
        commands.record_start(
            session, assignment.job_id, 2, Started(5, 0, 9, 9, (), {"torch": "2.10", "cpu": "x"})
        )

        warnings = read_job(session, assignment).warnings

    assert warnings == ["the environment changed before attempt 2: torch 2.9 → 2.10"]


def test_code_that_gives_equal_results_is_no_changed_environment(
    sessions: Sessions, assignment: Assignment
) -> None:
    first, last = [code for code, generation in GENERATIONS.items() if generation == 1][:2]
    with sessions.begin() as session:
        for number, code in ((1, first), (2, last)):
            started = Started(0, 0, 9, 9, (), {"code": code})
            commands.record_start(session, assignment.job_id, number, started)
            commands.end_attempt(session, assignment.job_id, number, "drained")
            acquire_job(session)
        commands.record_start(
            session, assignment.job_id, 3, Started(0, 0, 9, 9, (), {"code": "unknown"})
        )

        warnings = read_job(session, assignment).warnings

    assert warnings == ["the environment changed before attempt 3: code generation 1 → unknown"]


def test_an_epoch_has_columns_and_the_rest_as_json(
    sessions: Sessions, assignment: Assignment
) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    metrics = {"train_loss": 0.5, "val_accuracy": 0.75, "learning_rate": 0.1, "sharpness": 3.0}
    event = EpochFinished(epoch=1, step=10, metrics=metrics, best=True, seconds=1.5)
    with sessions.begin() as session:
        commands.record_epoch(session, assignment.job_id, 1, event, at)

        row = result_rows.epochs(session, assignment.job_id)[0]

    assert (row.epoch, row.step, row.attempt, row.seconds) == (1, 10, 1, 1.5)
    assert (row.train_loss, row.val_accuracy, row.learning_rate) == (0.5, 0.75, 0.1)
    assert (row.val_loss, row.extra, row.non_finite) == (None, {"sharpness": 3.0}, {})
    assert row.recorded_at == at


def test_an_epoch_that_is_not_finite_is_null_and_named(
    sessions: Sessions, assignment: Assignment
) -> None:
    metrics = {"train_loss": math.nan, "val_loss": math.inf, "other": -math.inf}
    event = EpochFinished(epoch=1, step=10, metrics=metrics, best=False, seconds=1.0)
    with sessions.begin() as session:
        commands.record_epoch(session, assignment.job_id, 1, event)

        row = result_rows.epochs(session, assignment.job_id)[0]

    assert (row.train_loss, row.val_loss, row.extra) == (None, None, {"other": None})
    assert row.non_finite == {"train_loss": "nan", "val_loss": "inf", "other": "-inf"}


def test_an_epoch_is_recorded_once(sessions: Sessions, assignment: Assignment) -> None:
    with sessions.begin() as session:
        commands.record_epoch(session, assignment.job_id, 1, EPOCH)
        commands.end_attempt(session, assignment.job_id, 1, "lost")
        acquire_job(session)
        commands.record_epoch(session, assignment.job_id, 2, EPOCH)

        assert [row.attempt for row in result_rows.epochs(session, assignment.job_id)] == [1]


def test_a_look_has_a_row_per_layer_finite_or_named_and_is_recorded_once(
    sessions: Sessions, assignment: Assignment
) -> None:
    later = Diagnosed(epoch=2, step=20, layers={"norm1": {"before_p50": 1.5}})
    with sessions.begin() as session:
        commands.record_diagnosis(session, assignment.job_id, 1, LOOK)
        commands.record_diagnosis(session, assignment.job_id, 1, later)
        commands.end_attempt(session, assignment.job_id, 1, "lost")
        acquire_job(session)
        commands.record_diagnosis(session, assignment.job_id, 2, later)

        rows = result_rows.diagnoses(session, assignment.job_id, limit=10)
        found = [(row.layer, row.step, row.attempt, row.statistics, row.non_finite) for row in rows]
        assert found == [
            ("norm1", 10, 1, {"before_p50": 0.5}, {}),
            ("network", 10, 1, {"loss_gap": None}, {"loss_gap": "nan"}),
            ("norm1", 20, 1, {"before_p50": 1.5}, {}),
        ]
        only = result_rows.diagnoses(
            session, assignment.job_id, layer="norm1", after=rows[0].id, limit=10
        )
        assert [row.step for row in only] == [20]
        firsts = result_rows.first_diagnoses(session, assignment.job_id)
        assert {layer: row.step for layer, row in firsts.items()} == {"norm1": 10, "network": 10}


def test_two_last_checkpoints_and_the_best_that_they_need_are_kept(
    sessions: Sessions, assignment: Assignment
) -> None:
    order = ["best 1", "last 1", "last 2", "best 3", "last 3", "best 4", "last 4", "last 5"]
    obsolete = []
    with sessions.begin() as session:
        for word in order:
            kind, step = word.split()
            obsolete += commands.record_checkpoint(
                session, assignment.job_id, 1, saved(kind, int(step))
            )
        kept = [row.path for row in result_rows.checkpoints(session, assignment.job_id)]
        assert kept == ["a/last 5", "a/last 4", "a/best 4"]
        assert obsolete == ["a/last 1", "a/last 2", "a/best 1", "a/last 3", "a/best 3"]

        commands.record_checkpoint(session, assignment.job_id, 1, saved("best", 6))
        kept = [row.path for row in result_rows.checkpoints(session, assignment.job_id)]
    assert kept == ["a/best 6", "a/last 5", "a/last 4", "a/best 4"]


def test_after_a_fallback_what_could_not_be_used_is_named_no_more(
    sessions: Sessions, assignment: Assignment
) -> None:
    """Or it would be what the next damaged checkpoint falls back to."""
    with sessions.begin() as session:
        for step in (10, 20):
            commands.record_checkpoint(session, assignment.job_id, 1, saved("last", step))
        commands.end_attempt(session, assignment.job_id, 1, "lost")
        acquire_job(session)
        obsolete = commands.record_start(
            session, assignment.job_id, 2, Started(10, 1, 100, 1234, damaged=("a/last 20",))
        )
        commands.record_checkpoint(session, assignment.job_id, 2, saved("last", 15, folder="b"))
        commands.end_attempt(session, assignment.job_id, 2, "lost")
        again = acquire_job(session)

    assert obsolete == ["a/last 20"]
    assert again is not None
    assert [checkpoint.path for checkpoint in again.checkpoints] == ["b/last 15", "a/last 10"]


def test_a_checkpoint_reported_again_replaces_itself(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        for step in (10, 20, 10):
            assert (
                commands.record_checkpoint(session, assignment.job_id, 1, saved("last", step)) == []
            )

        newest, other = result_rows.checkpoints(session, assignment.job_id)

    assert (newest.step, other.step) == (10, 20)


def test_the_first_result_of_an_evaluation_stands(
    sessions: Sessions, assignment: Assignment
) -> None:
    grid = FileWritten("predictions", "a/predictions.npy", "d", 10)
    with sessions.begin() as session:
        for accuracy, loss in ((0.5, math.nan), (0.6, 0.1)):
            metrics = {"test_accuracy": accuracy, "test_loss": loss}
            event = EvaluationFinished("test", metrics, (grid,))
            commands.record_evaluation(session, assignment.job_id, 1, event)
        commands.finish(
            session,
            assignment.job_id,
            1,
            reason="early_stopped",
            metrics={"test_accuracy": 0.7, "best_epoch": 3},
        )

        job = read_job(session, assignment)
        files = result_rows.files(session, assignment.job_id)

    assert job.metrics == {"test_accuracy": 0.5, "test_loss": None, "best_epoch": 3}
    assert job.non_finite == {"test_loss": "nan"}
    assert [file.name for file in files] == ["predictions"]


def test_log_lines_are_kept_in_order_without_what_sql_refuses(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        lines = [("info", "one"), ("error", "nul \x00 and \ud800")]
        commands.record_log(session, assignment.job_id, 1, lines)

        first, second = result_rows.logs(session, assignment.job_id)
        assert [line.text for line in result_rows.logs(session, assignment.job_id, first.id)] == [
            second.text
        ]

    assert (first.level, first.text, second.level) == ("info", "one", "error")
    assert second.text == "nul � and ?"


def test_a_finished_job_has_its_metrics_and_frees_its_slot(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        commands.finish(
            session,
            assignment.job_id,
            1,
            reason="diverged",
            metrics={"test_accuracy": math.nan, "epochs": 2},
            seconds_used=4.0,
        )

        job = read_job(session, assignment)
        attempt = result_rows.attempts(session, assignment.job_id)[0]
        assert session.scalars(select(Lease)).all() == []

    assert (job.status, job.reason, job.seconds_used) == ("succeeded", "diverged", 4.0)
    assert (job.metrics, job.non_finite) == (
        {"test_accuracy": None, "epochs": 2},
        {"test_accuracy": "nan"},
    )
    assert job.finished_at is not None
    assert (attempt.end, attempt.counts, attempt.error) == ("completed", False, None)
    assert attempt.ended_at is not None


@pytest.mark.parametrize("reason", ["timeout", "oom", "disk", "error"])
def test_a_failure_for_good_leaves_no_attempt(
    sessions: Sessions, assignment: Assignment, reason: Any
) -> None:
    with sessions.begin() as session:
        commands.fail(session, assignment.job_id, 1, reason, "Traceback: why", seconds_used=9.0)

        job = read_job(session, assignment)
        attempt = result_rows.attempts(session, assignment.job_id)[0]
        assert session.scalars(select(Lease)).all() == []

    assert (job.status, job.reason, job.error) == ("failed", reason, "Traceback: why")
    assert (attempt.end, attempt.error) == ("oom" if reason == "oom" else "error", "Traceback: why")


@pytest.mark.parametrize("end", ["drained", "preempted"])
def test_what_is_nobodys_fault_may_happen_any_number_of_times(
    sessions: Sessions, assignment: Assignment, end: End
) -> None:
    with sessions.begin() as session:
        for attempt in range(1, 6):
            job = commands.end_attempt(session, assignment.job_id, attempt, end)
            assert job.status == "queued"
            assert acquire_job(session) is not None


@pytest.mark.parametrize(
    ("end", "reason"),
    [("lost", "error"), ("stalled", "error"), ("error", "error")],
)
def test_counted_ends_use_the_attempts_up(
    sessions: Sessions, assignment: Assignment, end: End, reason: str
) -> None:
    with sessions.begin() as session:
        for attempt in (1, 2):
            job = commands.end_attempt(
                session, assignment.job_id, attempt, end, error=f"no {attempt}"
            )
            assert (job.status, job.reason, job.error) == ("queued", None, None)
            acquire_job(session)
        job = commands.end_attempt(session, assignment.job_id, 3, end, error="no 3")
        errors = [row.error for row in result_rows.attempts(session, assignment.job_id)]

    assert (job.status, job.reason, job.error) == ("failed", reason, "no 3")
    assert errors == ["no 1", "no 2", "no 3"]


def test_a_returned_job_keeps_its_place_in_the_line(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        before = read_job(session, assignment).queued_at
        after = commands.end_attempt(session, assignment.job_id, 1, "lost").queued_at

    assert before == after


def test_every_change_of_status_says_who_and_why(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        commands.end_attempt(session, assignment.job_id, 1, "drained")
        acquire_job(session)
        commands.request_action(session, read_job(session, assignment), "cancel", "bob")
        commands.end_attempt(session, assignment.job_id, 2, "cancelled")

        changes = result_rows.transitions(session, assignment.job_id)

    assert [(one.from_status, one.to_status, one.who, one.why) for one in changes] == [
        (None, "queued", "ada", "submitted"),
        ("queued", "running", "worker alpha", "attempt 1 on cpu 0"),
        ("running", "queued", "worker alpha", "attempt 1 drained"),
        ("queued", "running", "worker alpha", "attempt 2 on cpu 0"),
        ("running", "cancelled", "bob", "attempt cancelled"),
    ]


@pytest.mark.parametrize("end", ["cancelled", "lost", "drained", "error"])
def test_a_request_to_cancel_is_fulfilled_by_any_end(
    sessions: Sessions, assignment: Assignment, end: End
) -> None:
    with sessions.begin() as session:
        commands.request_action(session, read_job(session, assignment), "cancel", "bob")
        job = commands.end_attempt(session, assignment.job_id, 1, end)

    assert (job.status, job.reason, job.requested_action) == ("cancelled", "cancelled", None)


@pytest.mark.parametrize("end", ["paused", "lost", "drained"])
def test_a_request_to_pause_is_fulfilled_by_any_end_that_leaves_attempts(
    sessions: Sessions, assignment: Assignment, end: End
) -> None:
    with sessions.begin() as session:
        commands.request_action(session, read_job(session, assignment), "pause", "bob")
        job = commands.end_attempt(session, assignment.job_id, 1, end)

    assert (job.status, job.requested_action) == ("paused", None)


def test_a_job_resumed_before_it_had_paused_queues_again(
    sessions: Sessions, assignment: Assignment
) -> None:
    with sessions.begin() as session:
        commands.request_action(session, read_job(session, assignment), "pause", "bob")
        commands.resume(session, read_job(session, assignment), "bob")
        job = commands.end_attempt(session, assignment.job_id, 1, "paused")

    assert job.status == "queued"


def test_every_change_is_announced_with_the_job(sessions: Sessions, assignment: Assignment) -> None:
    with hear_of_jobs(sessions) as connection:
        with sessions.begin() as session:
            before = read_job(session, assignment).changed_at
            commands.record_epoch(session, assignment.job_id, 1, EPOCH)
            after = read_job(session, assignment).changed_at
        heard = [note.payload for note in connection.notifies(timeout=120, stop_after=1)]
    assert heard == [str(assignment.job_id)]
    assert after > before


def saved(kind: Any, step: int, folder: str = "a") -> CheckpointSaved:
    return CheckpointSaved(kind, 1, step, f"{folder}/{kind} {step}", "digest", 100)
