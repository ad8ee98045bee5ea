"""Searches that leave a trial's further seeds out once it is behind: fairly, within the quota, and alike whoever ends first."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job
from store.studies import studies
from studies.report.formats import to_markdown_report
from studies.report.load import read_report
from studies.spec.study import StudyError, StudySpec
from studies.tuning.select import count_search_trials, tuned_arms
from studies.tuning.stopping import is_behind
from studies.tuning.trials import TunedArm
from tests.support.factories import make_worker
from tests.support.following_jobs import (
    acquire_all,
    create_study,
    end_job,
)
from tests.support.result_rows import make_study
from trainer.events import Finished

Sessions = sessionmaker[Session]
SEEDS = tuple(range(100, 108))
SEARCH: dict[str, Any] = {
    "space": {"optimizer.lr": {"kind": "float", "low": 1e-3, "high": 1.0, "log": True}},
    "trials": 12,
    "seeds": list(SEEDS),
    "sampler": {"kind": "tpe", "startup": 4, "batch": 4},
    "stop": {"kind": "wilcoxon", "finishers": 0.5},
}


def searching(**search: Any) -> StudySpec:
    base = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd"},
    }
    return make_study(seeds=2, search={**SEARCH, **search}, base=base)


def accuracy_of(rate: float, seed: int) -> float:
    """A seed is good or bad for all settings alike, and a little better or worse for each."""
    of_seed = random.Random(seed).uniform(-0.1, 0.1)
    of_both = random.Random(f"{rate} {seed}").uniform(-0.01, 0.01)
    return 0.8 - 0.3 * abs(rate - 0.3) + of_seed + of_both


@pytest.fixture
def make(sessions: Sessions) -> Callable[[str], int]:
    with sessions.begin() as session:
        make_worker(session, cpu=128)

    def submit(owner: str) -> int:
        study = searching()
        with sessions.begin() as session:
            return create_study(session, study, owner).id

    return submit


def run_to_the_end(sessions: Sessions, order: random.Random) -> None:
    while assignments := acquire_all(sessions):
        order.shuffle(assignments)
        for assignment in assignments:
            with sessions.begin() as session:
                job = session.get_one(Job, assignment.job_id)
                accuracy = accuracy_of(job.spec["optimizer"]["lr"], job.seed)
                metrics = {"best_val_accuracy": accuracy, "test_accuracy": accuracy}
                end_job(session, assignment, Finished("completed", metrics))


def mean_of(arm: TunedArm, number: int) -> float:
    """Had it been trained at all seeds."""
    rate = arm.tried[number].setting["optimizer.lr"]
    return sum(accuracy_of(rate, seed) for seed in SEEDS) / len(SEEDS)


def test_trials_that_are_behind_at_the_same_seeds_get_no_others(
    sessions: Sessions, make: Callable[[str], int]
) -> None:
    searches: list[Sequence[TunedArm]] = []
    for number in range(2):
        study_id = make(f"user-{number}")
        run_to_the_end(sessions, random.Random(number))
        with sessions.begin() as session:
            study = studies.find(session, study_id)
            assert study is not None
            searches.append(tuned_arms(study))
            trials = [job for job in studies.jobs_of(session, study_id) if job.trial is not None]
            assert count_search_trials(study) == len(trials) < 2 * 12 * len(SEEDS)
            report = to_markdown_report(read_report(session, study, Path(), None))
            assert "left after 4 seeds" in report
            assert "its mean is over these alone" in report
    for arm in searches[0]:
        assert len(arm.tried) == 12
        left = [one for one in arm.tried if one.left_after is not None]
        assert 0 < len(left) <= 6
        assert all(one.left_after is None for one in arm.tried[:4])
        for one in left:
            assert tuple(one.values) == SEEDS[: one.left_after]
            assert 4 <= len(one.values) < len(SEEDS)
            assert not one.chosen
        best = max(range(12), key=lambda number: mean_of(arm, number))
        assert arm.tried[best].chosen
    assert searches[0] == searches[1]


@pytest.mark.parametrize(
    ("search", "pointer"),
    [
        ({"seeds": [100, 101]}, "/search/seeds"),
        ({"seeds": [100, 101, 102, 103]}, "/search/seeds"),
        ({"stop": {"kind": "wilcoxon", "first": 8}}, "/search/seeds"),
    ],
)
def test_with_as_few_seeds_as_save_none_it_is_refused(search: dict[str, Any], pointer: str) -> None:
    with pytest.raises(StudyError, match="compares trials seed by seed") as refused:
        searching(**search)
    assert refused.value.problems[0].pointer == pointer
    searching(seeds=[100, 101, 102, 103, 104])


def test_it_asks_what_optunas_pruner_asks() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=2)
    generator = np.random.default_rng(0)
    answers = []
    for draw in range(200):
        size = int(generator.integers(2, 9))
        best = generator.normal(0.0, 1.0, size)
        values = best + generator.normal(-0.4, 1.0, size)
        if draw % 10 == 0:
            values = best.copy()
        study = optuna.create_study(direction="maximize")
        study.add_trial(
            optuna.trial.create_trial(
                value=float(best.mean()), intermediate_values=dict(enumerate(map(float, best)))
            )
        )
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED,
            intermediate_values=dict(enumerate(map(float, values))),
        )
        answer = pruner.prune(study, trial)
        assert is_behind([float(gap) for gap in values - best], 0.1) == answer
        answers.append(answer)
    assert 20 < sum(answers) < 180
