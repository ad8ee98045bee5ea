"""The choice of a study's tuning, in the transaction that closes its last trial: there is no moment at which all
trials have ended and the study's own jobs are not there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from store.db import Study, database_now
from store.jobs import NewJob
from store.results import ResultRow, result_rows
from store.studies import studies
from studies.spec import Setting, StudySpec, arm_name, expand, read_study
from studies.stats import validation_metric
from studies.tuning.trials import Trials, TunedArm, choose


def choose_when_complete(session: Session, study_id: int) -> None:
    """Once every trial has succeeded (diverged ones have): chooses for each arm, and makes the study's jobs.

    Nothing is chosen while one has failed or was cancelled: budgets would be unequal. Once chosen, it stays.
    """
    # Two workers may close the last two trials at once. The lock makes the second wait; it then sees the choice
    # and returns.
    study = studies.lock(session, study_id)
    spec = read_study(study.spec)
    if spec.tune is None or study.tuning is not None:
        return
    # Read after the lock, so that a trial which another transaction has just closed is seen.
    rows = result_rows.study_rows(session, study_id, trials=True)
    if any(row.status != "succeeded" for row in rows):
        return
    arms = choose(spec.metric, _group_trials(spec, rows))
    study.tuning = {
        "metric": validation_metric(spec.metric),
        "at": database_now(session).isoformat(),
        "arms": [arm.model_dump(mode="json") for arm in arms],
    }
    session.flush()
    reuse = studies.may_reuse(session, study_id)
    new = [
        NewJob(cell.spec, cell.name, cell.variant, cell.point, reuse=reuse)
        for cell in expand(spec, chosen_settings(study))
    ]
    for job in studies.add_jobs(session, study, new, study.owner.name):
        # The study has waited in line with its trials.
        job.queued_at = study.created_at


def tuned_arms(study: Study) -> tuple[TunedArm, ...]:
    """None before the choice."""
    found = (study.tuning or {}).get("arms", ())
    return tuple(TunedArm.model_validate(one) for one in found)


def chosen_settings(study: Study) -> Mapping[str, Setting]:
    """By name of the arm."""
    return {one.arm: one.setting for one in tuned_arms(study)}


def _group_trials(spec: StudySpec, rows: Sequence[ResultRow]) -> Iterator[Trials]:
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
