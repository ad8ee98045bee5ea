"""Equal tuning budgets: what is tried, what is chosen, and when the study's own jobs are made."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job, Study
from store.jobs import commands
from store.jobs.acquire import Assignment
from store.results import result_rows
from store.studies import studies, tallies
from studies.comparison.compare import read_comparison
from studies.spec.expand import expand
from studies.spec.study import StudyError, StudySpec
from studies.spec.trials import expand_trials
from studies.tuning.select import chosen_settings, continue_tuning, tuned_arms
from studies.tuning.trials import Trials, choose
from tests.support.factories import make_worker
from tests.support.following_jobs import (
    acquire_all,
    create_study,
    end_two_at_once,
)
from tests.support.result_rows import make_row, make_study
from trainer.events import Finished
from worker.execution.failures import Failure
from worker.execution.outcome import record_outcome

Sessions = sessionmaker[Session]
BASE = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [8]},
    "optimizer": {"kind": "sgd"},
}
TUNE: dict[str, Any] = {"optimizer.lr": [0.01, 0.1], "seeds": [100, 101]}


def tuned(**fields: Any) -> StudySpec:
    return make_study(**{"seeds": 3, "tune": TUNE, "base": BASE, **fields})


def test_every_arm_tries_the_same_settings_on_seeds_of_their_own() -> None:
    study = tuned(matrix={"training.batch_size": [64, 8]})
    trials = expand_trials(study)
    assert Counter((one.variant, one.point["training.batch_size"]) for one in trials) == {
        (variant, size): 4 for variant in ("none", "group") for size in (64, 8)
    }
    assert {one.seed for one in trials} == {100, 101}
    for one in trials:
        assert one.trial == {"optimizer.lr": one.spec.optimizer.lr}
        assert one.point == {"training.batch_size": one.spec.training.batch_size, **one.trial}
        assert one.spec.evaluations == ()
    assert trials[0].name == "none · lr=0.01 · batch_size=64 | trial at seed 100"
    assert all(cell.trial is None for cell in expand(study))
    assert {cell.seed for cell in expand(study)} == {0, 1, 2}


def test_a_budget_chooses_the_same_settings_for_all_arms() -> None:
    grid = {"optimizer.lr": [0.01, 0.03, 0.1], "optimizer.momentum": [0.0, 0.9], "budget": 4}
    study = tuned(tune=grid)
    tried = {
        variant: [one.trial for one in expand_trials(study) if one.variant == variant]
        for variant in ("none", "group")
    }
    assert tried["none"] == tried["group"]
    assert len({repr(one) for one in tried["none"]}) == 4
    assert tuned(tune=grid).tune == study.tune


def test_without_tuning_there_are_no_trials() -> None:
    assert expand_trials(make_study()) == ()


def test_what_tuning_says_reads_back() -> None:
    study = tuned()
    assert StudySpec.model_validate(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("tune", "fields", "said"),
    [
        ({"seeds": [100]}, {}, "at least 1"),
        ({"optimizer.lr": []}, {}, "/tune/optimizer.lr: must have at least 1 item"),
        ({"optimizer.lr": [0.1], "budget": 0}, {}, "must be at least 1"),
        ({"optimizer.lr": [0.1], "budget": 2}, {}, "there are 1 settings to try, but budget is 2"),
        ({"optimizer.lr": [0.1], "seeds": [5, 5]}, {}, "may appear once each"),
        ({"optimizer.lr": [0.1], "seeds": [2, 9]}, {}, r"but both have \[2\]"),
        ({"optimizer.lr": [0.1]}, {"matrix": {"optimizer.lr": [1.0]}}, "is tuned, but optimizer.lr is in the matrix"),
        ({"optimizer": [{}]}, {"matrix": {"optimizer.lr": [1.0]}}, "optimizer is tuned"),
    ],
)  # fmt: skip
def test_tuning_that_cannot_be_is_refused(
    tune: dict[str, Any], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyError, match=said):
        tuned(tune=tune, **fields)


def test_a_setting_that_is_no_spec_is_refused_where_it_stands() -> None:
    with pytest.raises(StudyError) as refused:
        expand_trials(tuned(tune={"optimizer.lr": [0.1, -1.0]}))
    assert {one.pointer for one in refused.value.problems} == {"/tune/optimizer.lr"}


def trials_of(values: Mapping[float, Sequence[float | None]], **change: Any) -> Trials:
    settings = [
        (
            {"optimizer.lr": lr},
            [make_row(1, "none", seed, value, **change) for seed, value in enumerate(found)],
        )
        for lr, found in values.items()
    ]
    return Trials("none", "none", {}, settings)


def test_the_best_mean_on_validation_is_chosen_and_of_equals_the_first() -> None:
    (arm,) = choose(
        "test_accuracy", [trials_of({0.01: [0.8, 0.9], 0.1: [0.9, 0.9], 1.0: [0.9, 0.9]})]
    )
    assert [one.chosen for one in arm.tried] == [False, True, False]
    assert arm.setting == {"optimizer.lr": 0.1}
    assert arm.tried[0].mean == pytest.approx(0.85)
    assert arm.tried[0].values == {0: 0.8, 1: 0.9}


def test_of_losses_the_lowest_is_chosen() -> None:
    rows = [make_row(1, "none", 0, 0.0, metrics={"best_val_loss": loss}) for loss in (0.5, 0.2)]
    settings = [({"optimizer.lr": lr}, [row]) for lr, row in zip((0.01, 0.1), rows, strict=True)]
    (arm,) = choose("test_loss", [Trials("none", "none", {}, settings)])
    assert arm.setting == {"optimizer.lr": 0.1}


def test_a_trial_that_diverged_counts_with_chance_and_without_that_is_the_worst() -> None:
    diverged = make_row(1, "none", 0, None, reason="diverged")
    lost = make_row(1, "none", 0, None, reason="diverged", facts={})
    poor = make_row(1, "none", 0, 0.05)
    names = (1.0, 2.0, 3.0)
    settings = [
        ({"optimizer.lr": lr}, [row]) for lr, row in zip(names, (lost, poor, diverged), strict=True)
    ]
    (arm,) = choose("test_accuracy", [Trials("none", "none", {}, settings)])
    assert [one.mean for one in arm.tried] == [None, 0.05, 0.1]
    assert arm.setting == {"optimizer.lr": 3.0}


@pytest.fixture
def made(sessions: Sessions) -> Study:
    """A study with 2 × 2 × 2 trials, on a host of eight slots."""
    study = tuned()
    with sessions.begin() as session:
        make_worker(session, cpu=8)
        return create_study(session, study)


def end(session: Session, assignment: Assignment) -> None:
    """As its worker would; a rate of 0.1 is better for the baseline, one of 0.01 for the other."""
    job = session.get_one(Job, assignment.job_id)
    likes = {"none": 0.1, "group": 0.01}[str(job.variant)]
    accuracy = 0.9 if job.spec["optimizer"]["lr"] == likes else 0.5
    metrics = {"best_val_accuracy": accuracy, "test_accuracy": accuracy, "epochs": 1.0}
    record_outcome(session, assignment, Finished("completed", metrics), 1.0)


def own_jobs(session: Session, study_id: int) -> list[Job]:
    return [job for job in studies.jobs_of(session, study_id) if job.trial is None]


def test_the_last_trial_chooses_and_makes_the_jobs_in_its_transaction(
    sessions: Sessions, made: Study
) -> None:
    *first, last = acquire_all(sessions)
    assert len(first) == 7
    for assignment in first:
        with sessions.begin() as session:
            end(session, assignment)
            assert own_jobs(session, made.id) == []
    with sessions.begin() as session:
        end(session, last)
        session.rollback()
    with sessions.begin() as session:
        assert own_jobs(session, made.id) == []
    with sessions.begin() as session:
        end(session, last)
    with sessions.begin() as session:
        study = studies.find(session, made.id)
        assert study is not None
        found = own_jobs(session, made.id)
        counts = tallies.count_jobs(session, [made.id])[made.id].counts
        rates = {(job.variant, job.spec["optimizer"]["lr"]) for job in found}
        assert rates == {("none", 0.1), ("group", 0.01)}
        assert sorted((job.variant, job.seed) for job in found) == [
            (variant, seed) for variant in ("group", "none") for seed in range(3)
        ]
        assert {job.status for job in found} == {"queued"}
        assert {tuple(job.point) for job in found} == {()}
        assert all(job.spec["evaluations"] for job in found)
        assert (counts["succeeded"], counts["queued"]) == (8, 6)
        assert tallies.status_of(counts) == "running"
        assert chosen_settings(study) == {
            "none": {"optimizer.lr": 0.1}, "group": {"optimizer.lr": 0.01},
        }  # fmt: skip
        assert study.planned_seeds == [0, 1, 2]
        again = len(own_jobs(session, made.id))
        continue_tuning(session, made.id)
        assert len(own_jobs(session, made.id)) == again


def test_two_trials_that_end_at_once_make_one_choice(sessions: Sessions, made: Study) -> None:
    end_two_at_once(sessions, acquire_all(sessions), end)
    with sessions.begin() as session:
        assert len(own_jobs(session, made.id)) == 6


def test_a_trial_that_ran_out_of_memory_counts_as_the_worst(
    sessions: Sessions, made: Study
) -> None:
    assignments = acquire_all(sessions)
    for assignment in assignments:
        with sessions.begin() as session:
            # The best rate of the baseline doesn't fit.
            job = session.get_one(Job, assignment.job_id)
            if (job.variant, job.spec["optimizer"]["lr"]) == ("none", 0.1):
                failure = Failure("oom", "no memory", final=True)
                record_outcome(session, assignment, failure, 1.0)
            else:
                end(session, assignment)
    with sessions.begin() as session:
        study = studies.find(session, made.id)
        assert study is not None
        assert chosen_settings(study) == {
            "none": {"optimizer.lr": 0.01}, "group": {"optimizer.lr": 0.01},
        }  # fmt: skip
        assert len(own_jobs(session, made.id)) == 6


def test_a_failed_trial_leaves_no_choice_until_it_is_retried(
    sessions: Sessions, made: Study
) -> None:
    *first, last = acquire_all(sessions)
    for assignment in first:
        with sessions.begin() as session:
            end(session, assignment)
    with sessions.begin() as session:
        record_outcome(session, last, Failure("disk", "it is full", final=True), 1.0)
    with sessions.begin() as session:
        study = studies.find(session, made.id)
        assert study is not None
        assert own_jobs(session, made.id) == []
        assert study.tuning is None
        compared = read_comparison(session, study)
        assert any(
            "`retry` runs failed and cancelled trials again" in one
            for one in compared.verdict.reasons
        )
        commands.retry(session, session.get_one(Job, last.job_id), "ada")
    (again,) = acquire_all(sessions)
    with sessions.begin() as session:
        end(session, again)
        assert len(own_jobs(session, made.id)) == 6


def test_a_comparison_and_results_see_no_trials(sessions: Sessions, made: Study) -> None:
    for assignment in acquire_all(sessions):
        with sessions.begin() as session:
            end(session, assignment)
    for assignment in acquire_all(sessions):
        with sessions.begin() as session:
            end(session, assignment)
    with sessions.begin() as session:
        study = studies.find(session, made.id)
        assert study is not None
        compared = read_comparison(session, study)
        assert {(one.name, one.n) for one in compared.variants} == {("none", 3), ("group", 3)}
        assert any("optimizer.lr was tuned" in one for one in compared.notes)
        # That rates differ follows from tuning.
        assert not [one for one in compared.confounds if one.is_open]
        assert len(result_rows.rows(session, study_id=made.id).items) == 6
        tried = result_rows.study_rows(session, made.id, trials=True)
        assert len(tried) == 8
        assert all(row.trial for row in tried)
        assert [len(arm.tried) for arm in tuned_arms(study)] == [2, 2]
