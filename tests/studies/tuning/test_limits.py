"""Stopping trials of a search: limits that earlier batches set, quotas, and what becomes of what was stopped."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job
from store.jobs import commands
from store.jobs.acquire import Assignment
from store.results import result_rows
from store.studies import studies
from studies.report.formats import to_markdown_report
from studies.report.load import read_report
from studies.spec.study import StudyError, StudySpec
from studies.tuning import limits
from studies.tuning.limits import TrialStop, read_trial_stop
from studies.tuning.recorded import read_replays
from studies.tuning.select import tuned_arms
from tests.support.factories import acquire_job, make_worker
from tests.support.following_jobs import (
    create_study,
    end_job,
)
from tests.support.result_rows import make_study
from trainer.events import EpochFinished, Finished, Stepped

Sessions = sessionmaker[Session]
PERIODS = 9
SEARCH: dict[str, Any] = {
    "space": {"optimizer.lr": {"kind": "float", "low": 1e-3, "high": 1.0, "log": True}},
    "trials": 12,
    "seeds": [100, 101],
    "sampler": {"kind": "tpe", "startup": 4, "batch": 4},
    "stop": {"kind": "median", "finishers": 0.5},
}


def searching(stop: Mapping[str, Any] | None = None, **fields: Any) -> StudySpec:
    base = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd"},
    }
    search = {**SEARCH, "stop": {**SEARCH["stop"], **(stop or {})}}
    return make_study(**{"seeds": 2, "search": search, "base": base, **fields})


def epoch(number: int, **metrics: float) -> EpochFinished:
    return EpochFinished(number, 10 * number, metrics, best=True, seconds=1.0)


def curve_of(job: Job) -> list[float]:
    """Of `none` all rise at once; of `group` late, and higher."""
    quality = 1.0 - abs(job.spec["optimizer"]["lr"] - 0.3)
    late = job.variant == "group"
    return [
        quality * (n / PERIODS) ** (3 if late else 0.3) * (1.0 if late else 0.8)
        for n in range(1, PERIODS + 1)
    ]


@pytest.fixture
def make(sessions: Sessions) -> Callable[..., int]:
    numbers = itertools.count()
    with sessions.begin() as session:
        make_worker(session, cpu=64)

    def submit(stop: Mapping[str, Any] | None = None) -> int:
        study = searching(stop)
        with sessions.begin() as session:
            return create_study(session, study, f"user-{next(numbers)}").id

    return submit


def train(sessions: Sessions, assignment: Assignment) -> None:
    """As a worker does, with a curve for a training."""
    with sessions.begin() as session:
        job = session.get_one(Job, assignment.job_id)
        stop = read_trial_stop(session, job.id)
        curve = curve_of(job)
        end = Finished("completed", {"best_val_accuracy": curve[-1], "test_accuracy": curve[-1]})
        for number, value in enumerate(curve, start=1):
            event = epoch(number, val_accuracy=value)
            commands.record_epochs(session, job.id, assignment.attempt, [event])
            if stop is not None and (early := stop.observe(event)):
                end = early
                break
        end_job(session, assignment, end)


def run_to_the_end(sessions: Sessions, *, backwards: bool = False) -> None:
    while True:
        assignments = []
        with sessions.begin() as session:
            while assignment := acquire_job(session):
                assignments.append(assignment)
        if not assignments:
            return
        for assignment in reversed(assignments) if backwards else assignments:
            train(sessions, assignment)


def stops_of(session: Session, study_id: int) -> list[tuple[str, int, Any, float | None]]:
    rows = result_rows.study_rows(session, study_id, trials=True)
    return sorted(
        (
            row.variant,
            row.seed,
            sorted((row.trial or {}).items()),
            row.metrics.get("stopped_period"),
        )
        for row in rows
    )  # type: ignore[type-var]


def test_trials_behind_their_arm_are_stopped_within_the_quota_and_never_chosen(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    run_to_the_end(sessions)
    with sessions.begin() as session:
        study = studies.find(session, study_id)
        assert study is not None
        arms = {one.arm: one for one in tuned_arms(study)}
        stopped = {name: [one for one in arm.tried if one.stopped] for name, arm in arms.items()}
        assert all(0 < len(several) <= 6 for several in stopped.values()), stopped
        # The first batch has nothing to be compared with.
        assert all(one.stopped is None for arm in arms.values() for one in arm.tried[:4])
        assert not any(one.chosen for several in stopped.values() for one in several)
        # The arm that rises late lost no more than the other, and wins.
        best = {name: max(one.mean or 0.0 for one in arm.tried) for name, arm in arms.items()}
        assert best["group"] > best["none"]
        assert next(one for one in arms["group"].tried if one.chosen).mean == best["group"]
        own = [job for job in studies.jobs_of(session, study_id) if job.trial is None]
        assert len(own) == 4
        assert read_replays(session, study) == ()


def test_what_is_stopped_does_not_depend_on_who_ends_first(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    outcomes = []
    for backwards in (False, True):
        study_id = make({"kind": "halving"})
        run_to_the_end(sessions, backwards=backwards)
        with sessions.begin() as session:
            outcomes.append(stops_of(session, study_id))
    assert outcomes[0] == outcomes[1]
    assert any(one[-1] is not None for one in outcomes[0])


def test_a_trial_is_compared_with_those_of_its_arm_and_seed_however_many_others_there_are(
    sessions: Sessions, make: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both arms train more at both seeds; up to eight trials of nine periods come before one of an arm at a seed.
    monkeypatch.setattr(limits, "MOST_PERIODS", 9 * PERIODS)
    study_id = make()
    run_to_the_end(sessions)
    with sessions.begin() as session:
        stops = stops_of(session, study_id)
    assert {variant for variant, _, _, stop in stops if stop is not None} == {"none", "group"}


def test_the_report_marks_what_was_stopped(
    sessions: Sessions, make: Callable[..., int], tmp_path: Any
) -> None:
    study_id = make()
    run_to_the_end(sessions)
    with sessions.begin() as session:
        study = studies.find(session, study_id)
        assert study is not None
        text = to_markdown_report(read_report(session, study, tmp_path, None))
    assert "stopped after 1" in text
    assert "### Had bad trials been stopped early" not in text


def test_a_quota_of_all_stops_none(sessions: Sessions, make: Callable[..., int]) -> None:
    study_id = make({"finishers": 1.0})
    run_to_the_end(sessions)
    with sessions.begin() as session:
        assert Counter(one[-1] for one in stops_of(session, study_id)) == {None: 48}


def test_a_resumed_trial_ends_at_the_same_period() -> None:
    curve, limits = [0.3, 0.2, 0.25, 0.28], {1: 0.1, 3: 0.35}

    def ends(stop: TrialStop, first: int) -> Finished | None:
        events = [epoch(n, val_accuracy=value) for n, value in enumerate(curve, start=1)]
        return next((end for one in events[first - 1 :] if (end := stop.observe(one))), None)

    whole = ends(TrialStop("val_accuracy", limits, ()), 1)
    assert whole == Finished(
        "early_stopped",
        {"epochs": 3, "steps": 30, "stopped_period": 3, "best_val_accuracy": 0.3},
    )
    # Three periods were recorded, the checkpoint is of the second.
    assert ends(TrialStop("val_accuracy", limits, (0.3, 0.3, 0.3)), 3) == whole


def test_a_loss_is_the_better_the_lower_it_is() -> None:
    stop = TrialStop("val_loss", {1: -0.5, 2: -0.4}, ())
    assert stop.observe(Stepped(1)) is None
    assert stop.observe(epoch(1, val_loss=0.45)) is None
    end = stop.observe(epoch(2, val_loss=float("nan")))
    assert end is not None
    assert end.metrics["best_val_loss"] == 0.45


@pytest.mark.parametrize(
    ("search", "pointer"),
    [
        ({"sampler": {"kind": "quasi_random"}}, "/search/stop"),
        ({"stop": {"kind": "paired"}}, "/search/stop/kind"),
        ({"trials": 4}, "/search/stop"),
        ({"stop": {"kind": "median", "finishers": 0.0}}, "/search/stop/finishers"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(search: dict[str, Any], pointer: str) -> None:
    with pytest.raises(StudyError) as refused:
        searching(**{"search": {**SEARCH, **search}})
    assert pointer in {one.pointer for one in refused.value.problems}
