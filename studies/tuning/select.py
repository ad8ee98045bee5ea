"""The choice of a study's tuning or search, in the transaction that closes its last trial, and the next trials of a search,
in the one that closes the last before: there is no moment at which all trials have ended and nothing follows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from sqlalchemy.orm import Session

from store.db import Job, Study, database_now
from store.jobs import NewJob, commands
from store.results import ResultRow, result_rows
from store.studies import studies
from studies.spec import (
    ArmSpace,
    Cell,
    Setting,
    StudySpec,
    arm_name,
    expand,
    expand_setting,
    find_arm,
    read_study,
)
from studies.stats import validation_metric
from studies.tuning.propose import TriedSetting, propose
from studies.tuning.trials import Trials, TunedArm, choose, cost, stopped_after


@dataclass(frozen=True, slots=True)
class UnheardRequest:
    """To cancel or to pause a trial that ended before it heard of it."""

    action: Literal["cancel", "pause"]
    who: str

    @classmethod
    def of(cls, job: Job) -> Self | None:
        """While it still runs: its end forgets the request."""
        match job.requested_action:
            case "cancel" | "pause" as action:
                return cls(action, job.requested_by or "system")
            case _:
                return None


def continue_tuning(session: Session, study_id: int, request: UnheardRequest | None = None) -> None:
    """After a trial has succeeded (diverged ones have): makes the next trials of a search, or, where all have, chooses for
    each arm and makes the study's jobs. `request`: meets what is made, or a study that was cancelled would go on.

    Nothing is chosen while one has failed or was cancelled: budgets would be unequal. Once chosen, it stays.
    """
    # Two workers may close the last two trials at once. The lock makes the second wait; it then sees what the first
    # has made and returns.
    study = studies.lock(session, study_id)
    spec = read_study(study.spec)
    if not spec.tuned_paths or study.tuning is not None:
        return
    # Read after the lock, so that a trial which another transaction has just closed is seen.
    trials = list(group_trials(result_rows.study_rows(session, study_id, trials=True)))
    if next_trials := _propose_next(spec, trials):
        add_cells(session, study, next_trials, request)
    elif all(one.have_succeeded for one in trials):
        _choose(session, study, spec, trials, request)


def _propose_next(spec: StudySpec, trials: Sequence[Trials]) -> list[Cell]:
    """Of each arm whose trials have all succeeded, as long as it has some of its budget left."""
    if spec.search is None:
        return []
    return [
        cell
        for one in trials
        if one.have_succeeded and len(one.settings) < spec.search.trials
        for setting in _propose_for(spec, one)
        for cell in expand_setting(spec, one.variant, one.point, setting)
    ]


def _propose_for(spec: StudySpec, trials: Trials) -> list[dict[str, Any]]:
    assert spec.search is not None
    space = ArmSpace(spec, find_arm(spec, trials.variant, trials.point))
    tried = [
        TriedSetting(setting, cost(rows, spec.metric), stopped_after(rows))
        for setting, rows in trials.settings
    ]
    return propose(space, tried, min(spec.search.batch, spec.search.trials - len(tried)))


def _choose(
    session: Session,
    study: Study,
    spec: StudySpec,
    trials: Sequence[Trials],
    request: UnheardRequest | None,
) -> None:
    arms = choose(spec.metric, trials)
    study.tuning = {
        "metric": validation_metric(spec.metric),
        "at": database_now(session).isoformat(),
        "arms": [arm.model_dump(mode="json") for arm in arms],
    }
    session.flush()
    reuse = studies.may_reuse(session, study.id)
    add_cells(session, study, expand(spec, chosen_settings(study)), request, reuse=reuse)


def add_cells(
    session: Session,
    study: Study,
    cells: Sequence[Cell],
    request: UnheardRequest | None,
    *,
    reuse: bool = False,
) -> None:
    """Makes the jobs of those cells that the study lacks; `request`: meets each."""
    new = [
        NewJob(cell.spec, cell.name, cell.variant, cell.point, trial=cell.trial, reuse=reuse)
        for cell in cells
    ]
    made = studies.add_jobs(session, study, new, study.owner.name)
    for job in made:
        # The study has waited in line with its first trials.
        job.queued_at = study.created_at
        # A job of the study may have been answered by an equal one.
        if request is not None and job.status == "queued":
            commands.request_action(session, job, request.action, request.who)


def tuned_arms(study: Study) -> tuple[TunedArm, ...]:
    """None before the choice."""
    found = (study.tuning or {}).get("arms", ())
    return tuple(TunedArm.model_validate(one) for one in found)


def chosen_settings(study: Study) -> Mapping[str, Setting]:
    """By name of the arm."""
    return {one.arm: one.setting for one in tuned_arms(study)}


def group_trials(rows: Sequence[ResultRow]) -> Iterator[Trials]:
    """In the order of the study document: arms as they are trained, settings as they are tried."""
    by_arm: dict[str, list[ResultRow]] = {}
    for row in rows:
        point = _leave_out(row.point, _get_setting(row))
        by_arm.setdefault(arm_name(row.variant, point), []).append(row)
    for name, found in by_arm.items():
        settings: list[tuple[dict[str, Any], list[ResultRow]]] = []
        for row in found:
            # Settings are mappings, which can't be keys; an arm has few of them.
            same = next((rows for setting, rows in settings if setting == row.trial), None)
            if same is None:
                settings.append((_get_setting(row), [row]))
            else:
                same.append(row)
        point = _leave_out(found[0].point, _get_setting(found[0]))
        yield Trials(name, found[0].variant, point, settings)


def _get_setting(row: ResultRow) -> dict[str, Any]:
    """What tuning has set in this trial."""
    assert row.trial is not None
    return dict(row.trial)


def _leave_out(point: Mapping[str, Any], setting: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in point.items() if path not in setting}
