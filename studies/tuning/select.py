"""The choice of a study's tuning or search, in the transaction that closes its last trial, and the next trials of a search,
in the one that closes the last before: there is no moment at which all trials have ended and nothing follows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, TypeAlias

from sqlalchemy.orm import Session

from store.catalog import datasets
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
    count_trials,
    expand,
    expand_setting,
    find_arm,
    read_study,
)
from studies.stats import validation_metric
from studies.tuning.importance import measure_importance
from studies.tuning.optuna_trials import TriedSetting
from studies.tuning.propose import FindProblems, Proposals, propose
from studies.tuning.seeds import begin_with, continue_seeds
from studies.tuning.trials import (
    Refused,
    SearchedArm,
    Trials,
    TunedArm,
    choose,
    cost,
    stopped_after,
)
from trainer.spec import DatasetInfo, JobSpec

#: What is wrong with a spec's network on a dataset; nothing of one that can be trained.
FindNetworkProblems: TypeAlias = Callable[[JobSpec, DatasetInfo], Sequence[str]]


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


def continue_tuning(
    session: Session,
    study_id: int,
    request: UnheardRequest | None = None,
    find_problems: FindNetworkProblems = lambda spec, info: (),
) -> None:
    """After a trial has ended: makes the next trials of a search, or, where all have, chooses for each arm and makes the
    study's jobs. `request`: meets what is made, or a study that was cancelled would go on. `find_problems`: what is wrong
    with a proposed spec's network.

    What its own setting has failed (`OWN_FAILURES`) has ended as what diverged has. Nothing is chosen while another has
    failed or was cancelled: budgets would be unequal. Once chosen, it stays.
    """
    # Two workers may close the last two trials at once. The lock makes the second wait; it then sees what the first
    # has made and returns.
    study = studies.lock(session, study_id)
    spec = read_study(study.spec)
    if not spec.tuned_paths or study.tuning is not None:
        return
    # Read after the lock, so that a trial which another transaction has just closed is seen.
    trials = list(group_trials(result_rows.study_rows(session, study_id, trials=True)))
    if next_trials := _propose_next(session, study, spec, trials, find_problems):
        add_cells(session, study, next_trials, request)
    elif all(arm.can_be_chosen_from for arm in trials):
        _choose(session, study, spec, trials, request)


def is_halted(session: Session, study_id: int) -> bool:
    """Whether trials or jobs are to be made that `continue_tuning` would make now: whoever ended the last trial made none."""
    study = studies.find(session, study_id)
    if study is None or study.tuning is not None:
        return False
    spec = read_study(study.spec)
    trials = list(group_trials(result_rows.study_rows(session, study_id, trials=True)))
    if all(arm.can_be_chosen_from for arm in trials):
        return bool(trials)
    searched = read_searched(study)
    return spec.search is not None and any(_goes_on(spec, arm, searched) for arm in trials)


def _goes_on(spec: StudySpec, arm: Trials, searched: Mapping[str, SearchedArm]) -> bool:
    """Whether its trials have ended, and some of its budget and of its space is left, or some seeds."""
    assert spec.search is not None
    if not arm.have_ended:
        return False
    is_exhausted = searched.get(arm.arm, SearchedArm()).exhausted_after is not None
    has_budget = len(arm.settings) < spec.search.trials and not is_exhausted
    return has_budget or bool(continue_seeds(spec, arm))


def _propose_next(
    session: Session,
    study: Study,
    spec: StudySpec,
    trials: Sequence[Trials],
    find_problems: FindNetworkProblems,
) -> list[Cell]:
    """Of each arm whose trials have all ended, as long as it has some of its budget and of its space left."""
    if spec.search is None:
        return []
    cells: list[Cell] = []
    searched = read_searched(study)
    for arm in trials:
        if not _goes_on(spec, arm, searched):
            continue
        if seeds := continue_seeds(spec, arm):
            cells += seeds
            continue
        before = searched.get(arm.arm, SearchedArm())
        proposals = _propose_for(
            spec, arm, before.refused, partial(_find_problems, session, find_problems)
        )
        tried = len(arm.settings) + len(proposals.settings)
        searched[arm.arm] = SearchedArm(
            refused=(*before.refused, *proposals.refused),
            exhausted_after=tried if proposals.is_exhausted else None,
        )
        for setting in proposals.settings:
            cells += begin_with(spec, expand_setting(spec, arm.variant, arm.point, setting))
    _write_searched(session, study, searched)
    return cells


def _propose_for(
    spec: StudySpec, trials: Trials, refused: Sequence[Refused], find_problems: FindProblems
) -> Proposals:
    assert spec.search is not None
    space = ArmSpace(spec, find_arm(spec, trials.variant, trials.point))
    tried = _list_tried(spec, trials)
    count = min(spec.search.batch, spec.search.trials - len(tried))
    return propose(space, tried, count, refused, find_problems)


def _list_tried(spec: StudySpec, trials: Trials) -> list[TriedSetting]:
    """One that was left before its last seed is told to have been stopped after so many."""
    assert spec.search is not None
    seeds = len(spec.search.seeds)
    return [
        TriedSetting(
            setting,
            cost(rows, spec.metric),
            stopped_after(rows) or (len(rows) if len(rows) < seeds else None),
        )
        for setting, rows in trials.settings
    ]


def _find_problems(
    session: Session, find_problems: FindNetworkProblems, spec: JobSpec
) -> Sequence[str]:
    """Of a dataset that was deleted meanwhile, whose trials can't be made either, there are none."""
    dataset = datasets.find(session, spec.dataset.name)
    if dataset is None or dataset.info is None:
        return ()
    return find_problems(spec, DatasetInfo.model_validate(dataset.info))


def read_searched(study: Study) -> dict[str, SearchedArm]:
    """By name of the arm, what its search has come upon so far."""
    return {name: SearchedArm.model_validate(arm) for name, arm in study.searched.items()}


def count_search_trials(study: Study) -> int:
    """Of all arms at all search seeds; of an arm that turned out to have fewer settings, as many as it has. Once a search
    has chosen, those that it has: some may have been left before their last seed."""
    if study.tuning is not None:
        return sum(len(setting.values) for arm in tuned_arms(study) for setting in arm.tried)
    spec = read_study(study.spec)
    assert spec.search is not None
    ends = [arm.exhausted_after for arm in read_searched(study).values()]
    lacking = sum(spec.search.trials - end for end in ends if end is not None)
    return count_trials(spec) - lacking * len(spec.search.seeds)


def _write_searched(session: Session, study: Study, searched: Mapping[str, SearchedArm]) -> None:
    document = {name: arm.model_dump(mode="json") for name, arm in searched.items()}
    if document != study.searched:
        study.searched = document
        session.flush()


def _choose(
    session: Session,
    study: Study,
    spec: StudySpec,
    trials: Sequence[Trials],
    request: UnheardRequest | None,
) -> None:
    arms = choose(spec.metric, trials, read_searched(study))
    if spec.search is not None:
        arms = tuple(
            arm.model_copy(
                update={"importance": measure_importance(spec.search, _list_tried(spec, of_arm))}
            )
            for arm, of_arm in zip(arms, trials, strict=True)
        )
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
    arms = (study.tuning or {}).get("arms", ())
    return tuple(TunedArm.model_validate(arm) for arm in arms)


def chosen_settings(study: Study) -> Mapping[str, Setting]:
    """By name of the arm."""
    return {arm.arm: arm.setting for arm in tuned_arms(study)}


def group_trials(rows: Sequence[ResultRow]) -> Iterator[Trials]:
    """In the order of the study document: arms as they are trained, settings as they are tried."""
    by_arm: dict[str, list[ResultRow]] = {}
    for row in rows:
        point = _leave_out(row.point, _get_setting(row))
        by_arm.setdefault(arm_name(row.variant, point), []).append(row)
    for name, of_arm in by_arm.items():
        settings: list[tuple[dict[str, Any], list[ResultRow]]] = []
        for row in of_arm:
            # Settings are mappings, which can't be keys; an arm has few of them.
            same = next((rows for setting, rows in settings if setting == row.trial), None)
            if same is None:
                settings.append((_get_setting(row), [row]))
            else:
                same.append(row)
        point = _leave_out(of_arm[0].point, _get_setting(of_arm[0]))
        yield Trials(name, of_arm[0].variant, point, settings)


def _get_setting(row: ResultRow) -> dict[str, Any]:
    """What tuning has set in this trial."""
    assert row.trial is not None
    return dict(row.trial)


def _leave_out(point: Mapping[str, Any], setting: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in point.items() if path not in setting}
