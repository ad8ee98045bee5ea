"""Work once: which jobs are answered by an equal one, when, and with what."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Attempt, File, Job, LogLine, Study, Transition
from store.jobs import commands, maintenance, obstacles, queue, usage
from store.jobs.acquire import Assignment
from store.results import pace, result_rows
from store.reuse import answers
from store.studies import studies
from tests.support.factories import (
    ENVIRONMENT,
    acquire_job,
    choose_numerics,
    finish_training,
    make_cells,
    make_job,
    make_study,
    make_user,
    make_worker,
    set_job,
)
from trainer.events import FileWritten

Sessions = sessionmaker[Session]


@pytest.fixture
def worker(sessions: Sessions) -> Sessions:
    """The store with a host of two slots."""
    with sessions.begin() as session:
        make_worker(session, cpu=2)
    return sessions


def train(sessions: Sessions, **environment: str) -> Assignment:
    """The next job, to its end."""
    with sessions.begin() as session:
        job = acquire_job(session)
        assert job is not None
        finish_training(session, job, **environment)
    return job


def submit(sessions: Sessions, **parts: Any) -> Job:
    with sessions.begin() as session:
        return make_job(session, **{"reuse": True, **parts})


def read(sessions: Sessions, job: Job) -> Job:
    with sessions.begin() as session:
        found = commands.find(session, job.id)
        assert found is not None
        return found


def next_job(sessions: Sessions) -> int | None:
    """The id of the job that is acquired next."""
    with sessions.begin() as session:
        job = acquire_job(session)
        return job and job.job_id


def test_a_job_that_equals_a_finished_one_has_its_results_at_once(worker: Sessions) -> None:
    first = submit(worker)
    train(worker)

    second = submit(worker, resources={"priority": "high"})

    assert (second.status, second.reason, second.reused_from) == (
        "succeeded",
        "completed",
        first.id,
    )
    assert second.metrics == read(worker, first).metrics
    assert (second.attempt, second.seconds_used, second.step) == (0, 5.0, 46)
    with worker.begin() as session:
        assert [one.epoch for one in result_rows.epochs(session, second.id)] == [1, 2]
        [row] = [row for row in result_rows.rows(session).items if row["job_id"] == second.id]
        assert (row["epochs"], row["status"]) == (2, "succeeded")
        [said] = session.scalars(select(LogLine.text).where(LogLine.job_id == second.id))
        assert said == f"answered by job {first.id}: its log has the lines of the training"
        [why] = session.scalars(select(Transition.why).where(Transition.job_id == second.id))
        assert why == f"answered by job {first.id}, which trained the same"
    assert next_job(worker) is None


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"training": {"epochs": 3}}, {"norm": {"kind": "batch"}}]
)
def test_a_job_that_differs_in_what_decides_results_is_trained(
    worker: Sessions, other: dict[str, Any]
) -> None:
    submit(worker)
    train(worker)

    assert submit(worker, **other).status == "queued"


def test_a_trial_which_may_have_been_stopped_early_answers_nothing(worker: Sessions) -> None:
    trial = submit(worker)
    with worker.begin() as session:
        set_job(session, trial.id, trial={"optimizer.lr": 0.1})
        running = acquire_job(session)
        assert running is not None
    beside = submit(worker)
    assert next_job(worker) == beside.id
    with worker.begin() as session:
        finish_training(session, running)

    assert submit(worker).status == "queued"


def test_a_job_that_is_asked_for_afresh_is_trained(worker: Sessions) -> None:
    submit(worker)
    train(worker)

    fresh = submit(worker, reuse=False)

    assert fresh.status == "queued"
    assert next_job(worker) == fresh.id


@pytest.mark.parametrize("environment", [{"code": "changed"}, {"torch": "2.13"}])
def test_results_of_other_code_or_libraries_answer_nothing(
    worker: Sessions, environment: dict[str, str]
) -> None:
    submit(worker)
    train(worker, **environment)

    assert submit(worker).status == "queued"


def test_results_with_numerics_that_no_worker_has_answer_nothing(worker: Sessions) -> None:
    first = submit(worker)
    train(worker)
    threads = {**choose_numerics("cpu").model_dump(mode="json"), "threads": 8}
    with worker.begin() as session:
        set_job(session, first.id, numerics=threads)

    assert submit(worker).status == "queued"


def test_a_job_for_another_kind_of_device_is_trained(worker: Sessions) -> None:
    submit(worker)
    train(worker)

    assert submit(worker, resources={"device": "cuda"}).status == "queued"


def test_a_failed_job_answers_nothing(worker: Sessions) -> None:
    submit(worker)
    with worker.begin() as session:
        job = acquire_job(session)
        assert job is not None
        commands.fail(session, job.job_id, job.attempt, "error", "no")

    assert submit(worker).status == "queued"


def test_a_diverged_job_answers_like_any_other(worker: Sessions) -> None:
    first = submit(worker)
    train(worker)
    with worker.begin() as session:
        set_job(session, first.id, reason="diverged", non_finite={"test_loss": "nan"})

    second = submit(worker)

    assert (second.reason, second.non_finite) == ("diverged", {"test_loss": "nan"})


def test_an_answered_job_answers_none_itself(worker: Sessions) -> None:
    first = submit(worker)
    train(worker)
    submit(worker)

    assert submit(worker).reused_from == first.id


def study_of(sessions: Sessions, seeds: Sequence[int] = (0, 1)) -> Study:
    with sessions.begin() as session:
        return make_study(session, cells=make_cells(seeds=seeds, reuse=True))


def statuses(sessions: Sessions, study: Study) -> list[str]:
    with sessions.begin() as session:
        return [job.status for job in studies.jobs_of(session, study.id)]


def test_a_study_trains_only_the_cells_that_nobody_has_trained(worker: Sessions) -> None:
    study_of(worker)
    for _ in range(4):
        train(worker)

    wider = study_of(worker, seeds=(0, 1, 2))

    assert statuses(worker, wider) == ["succeeded", "succeeded", "queued"] * 2
    with worker.begin() as session:
        rows = result_rows.study_rows(session, wider.id)
        environments = [row.environment for row in rows if row.status == "succeeded"]
        assert environments == [ENVIRONMENT] * 4


def test_a_study_has_the_numerics_of_the_cells_that_are_answered(worker: Sessions) -> None:
    study_of(worker)
    for _ in range(4):
        train(worker)
    with worker.begin() as session:
        make_worker(session, "beta", cpu=1, cuda=1)

    wider = study_of(worker, seeds=(0, 1, 2))

    with worker.begin() as session:
        found = studies.find(session, wider.id)
        assert found is not None
        assert found.numerics is not None
        assert found.numerics["device"] == "cpu"


def test_cells_added_to_a_study_are_answered_with_its_numerics(worker: Sessions) -> None:
    study = study_of(worker)
    single = submit(worker, seed=2, norm={"kind": "batch"})
    for _ in range(5):
        train(worker)

    with worker.begin() as session:
        cells = make_cells(seeds=(0, 1, 2), reuse=True)
        added = studies.add_jobs(session, study, cells, "ada")

    assert [(job.variant, job.status) for job in added] == [
        ("none", "queued"),
        ("batch", "succeeded"),
    ]
    assert added[1].reused_from == single.id


def test_of_two_equal_jobs_the_second_waits_and_takes_the_result(worker: Sessions) -> None:
    first, second = submit(worker), submit(worker)
    with worker.begin() as session:
        job = acquire_job(session)
        assert job is not None
    assert job.job_id == first.id
    # There is a slot, but nothing to train on it.
    assert next_job(worker) is None
    with worker.begin() as session:
        waiting = session.get_one(Job, second.id)
        assert (waiting.status, waiting.waits_for) == ("queued", first.id)
        assert (obstacles.find_obstacle(session, waiting) or "").startswith(
            f"job {first.id} trains"
        )

    with worker.begin() as session:
        finish_training(session, job)

    assert read(worker, second).reused_from == first.id
    assert read(worker, second).waits_for is None


@pytest.mark.parametrize("end", ["failed", "cancelled", "paused", "lost"])
def test_a_job_whose_equal_one_ends_without_success_is_trained_itself(
    worker: Sessions, end: str
) -> None:
    first, second = submit(worker), submit(worker)
    with worker.begin() as session:
        job = acquire_job(session)
        assert job is not None
    assert next_job(worker) is None

    with worker.begin() as session:
        match end:
            case "failed":
                commands.fail(session, job.job_id, job.attempt, "error", "no")
            case "cancelled" | "paused":
                action = "cancel" if end == "cancelled" else "pause"
                commands.request_action(session, session.get_one(Job, first.id), action, "ada")
                commands.end_attempt(session, job.job_id, job.attempt, end)
            case _:
                commands.end_attempt(session, job.job_id, job.attempt, "lost")

    # Also where the first one waits again: its owner has used more.
    assert next_job(worker) == second.id


def test_a_job_that_waits_can_be_cancelled(worker: Sessions) -> None:
    submit(worker)
    second = submit(worker)
    job = next_job(worker)
    assert next_job(worker) is None

    with worker.begin() as session:
        commands.request_action(session, session.get_one(Job, second.id), "cancel", "ada")

    assert job is not None
    assert read(worker, second).status == "cancelled"


def test_whoever_runs_out_of_time_to_release_is_released_by_the_sweep(worker: Sessions) -> None:
    first, second = submit(worker), submit(worker)
    next_job(worker)
    assert next_job(worker) is None
    with worker.begin() as session:
        # As if the waiting job had been locked when the other one ended.
        set_job(session, first.id, status="queued")

        answers.release_waiting(session)

    assert read(worker, second).waits_for is None


def test_equal_jobs_for_other_devices_run_side_by_side(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=1, cuda=1)
        on_cpu = make_job(session, reuse=True, resources={"device": "cpu"})
        on_gpu = make_job(session, reuse=True, resources={"device": "cuda"})

    assert {next_job(sessions), next_job(sessions)} == {on_cpu.id, on_gpu.id}


def test_a_job_that_was_submitted_while_its_equal_ended_is_answered_in_its_turn(
    worker: Sessions,
) -> None:
    first = submit(worker)
    train(worker)
    late = submit(worker, reuse=False)
    with worker.begin() as session:
        session.execute(update(Job).where(Job.id == late.id).values(may_reuse=True))

    assert next_job(worker) is None

    assert read(worker, late).reused_from == first.id


def test_two_studies_that_train_the_same_share_the_work(worker: Sessions) -> None:
    one, other = study_of(worker), study_of(worker)
    trained = [train(worker).job_id for _ in range(4)]

    assert next_job(worker) is None
    assert statuses(worker, one) == statuses(worker, other) == ["succeeded"] * 4
    assert len(set(trained)) == 4


def test_a_file_is_needed_as_long_as_any_row_names_it(worker: Sessions) -> None:
    first = submit(worker)
    with worker.begin() as session:
        job = acquire_job(session)
        assert job is not None
        written = FileWritten("grid.npz", f"jobs/{first.id}/attempt-1/grid.npz", "d", 9)
        commands.record_file(session, job.job_id, job.attempt, written)
        finish_training(session, job)
    second = submit(worker)

    with worker.begin() as session:
        [copied] = result_rows.files(session, second.id)
        session.execute(File.__table__.delete().where(File.job_id == first.id))
        assert maintenance.named_paths(session, [first.id]) == {copied.path}


def test_an_answered_job_is_no_measurement_of_speed(worker: Sessions) -> None:
    submit(worker)
    train(worker)
    submit(worker)

    with worker.begin() as session:
        assert len(pace.finished_jobs(session, {("digits", "mlp")})) == 1


def test_what_a_study_has_from_others_is_no_estimate_of_what_it_will_take(worker: Sessions) -> None:
    study_of(worker)
    for _ in range(4):
        train(worker)
    wider = study_of(worker, seeds=(0, 1, 2))

    with worker.begin() as session:
        assert pace.recent_seconds(session, [wider.id]) == {}
        job = acquire_job(session)
        assert job is not None
        attempt = session.get_one(Attempt, (job.job_id, job.attempt))
        assert attempt.expected_seconds == usage.ASSUMED_SECONDS


def test_jobs_that_wait_for_an_equal_one_are_not_in_line(worker: Sessions) -> None:
    submit(worker)
    submit(worker)
    next_job(worker)
    assert next_job(worker) is None

    with worker.begin() as session:
        assert [one.job.id for one in queue.waiting(session)] == []
        assert queue.demand(session, {"cpu": 1}) == {}


def test_everybody_s_results_answer_everybody(worker: Sessions) -> None:
    with worker.begin() as session:
        first = make_job(session, make_user(session, "ada"), reuse=True)
    train(worker)

    with worker.begin() as session:
        assert make_job(session, make_user(session, "bob"), reuse=True).reused_from == first.id
