"""What a tuning, a search or a pretraining trains before the cells of its study."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from studies.spec.arms import PRETRAINING_ARM, Arm, find_arm, list_arms, read_spec
from studies.spec.expand import MAX_CELLS, Cell, at_seed
from studies.spec.parts import collect_problems
from studies.spec.search import Search
from studies.spec.space import ArmSpace, count_points, refuse_narrow
from studies.spec.study import StudyError, StudySpec, arm_name
from studies.spec.tuning import Setting
from trainer.problems import listed
from trainer.spec import JobSpec, Problem

#: As `trainer.problems` says it of a field.
_UNKNOWN = "unknown key"


def expand_trials(study: StudySpec) -> tuple[Cell, ...]:
    """What tuning trains before the cells: every arm × setting × tuning seed; of a search the trials that depend on no
    results; the pretraining of every seed; none without any of them. The test split stays sealed: they are evaluated on
    validation alone. Raises `StudyError`."""
    problems: list[Problem] = []
    arms = list_arms(study, problems)
    if study.tune is not None:
        _refuse_many_trials(
            len(arms) * len(study.tune.candidates()) * len(study.tune.seeds), "/tune"
        )
        trials = [
            replace(arm, setting=setting) for arm in arms for setting in study.tune.candidates()
        ]
        cells = _read_trials(study, trials, study.tune.seeds, problems)
    elif study.search is not None:
        search = study.search
        _refuse_many_trials(count_trials(study), "/search")
        spaces = [ArmSpace(study, arm) for arm in arms]
        with collect_problems(problems):
            _raise_if(refuse_narrow(spaces))
        trials = [
            replace(space.arm, setting=setting)
            for space in spaces
            for setting in space.list_first(search.first_trials)
        ]
        cells = _read_trials(study, trials, search.seeds, problems)
    elif study.pretrain is not None:
        cells = _read_trials(study, [PRETRAINING_ARM], study.seed_list, problems)
    else:
        return ()
    _raise_if(problems)
    return cells


def expand_extremes(study: StudySpec) -> tuple[Cell, ...]:
    """A cell for every end of every range that an arm searches: not to be trained, but to be checked, so that a search
    doesn't come upon what can't be trained. Raises `StudyError`."""
    if study.search is None:
        return ()
    problems: list[Problem] = []
    arms = list_arms(study, problems)
    _refuse_many_extremes(study.search, len(arms))
    most = count_points(len(arms))
    extremes = [
        replace(arm, setting=setting)
        for arm in arms
        for setting in ArmSpace(study, arm).list_extremes(most)
    ]
    cells = _read_trials(study, extremes, study.search.seeds[:1], problems)
    _raise_if(problems)
    return cells


def expand_setting(
    study: StudySpec, variant: str, point: Mapping[str, Any], setting: Setting
) -> tuple[Cell, ...]:
    """The trials of one setting that a search has proposed for an arm, at each of its seeds; raises `StudyError`."""
    assert study.search is not None
    problems: list[Problem] = []
    arm = replace(find_arm(study, variant, point), setting=setting)
    cells = _read_trials(study, [arm], study.search.seeds, problems)
    _raise_if(problems)
    return cells


def count_trials(study: StudySpec) -> int:
    """How many jobs its tuning or search trains in all, or its pretraining."""
    arms = len(list_arms(study, []))
    if study.search is not None:
        return arms * study.search.trials * len(study.search.seeds)
    if study.tune is not None:
        return arms * len(study.tune.candidates()) * len(study.tune.seeds)
    if study.pretrain is not None:
        return len(study.seed_list)
    return 0


def count_most_cells(study: StudySpec) -> int:
    """How many jobs it may come to have by itself, trials aside."""
    return len(list_arms(study, [])) * study.most_seeds


def _refuse_many_trials(count: int, place: str) -> None:
    if count > MAX_CELLS:
        detail = f"{count} trials are more than the {MAX_CELLS} trainings of a study"
        raise StudyError((Problem(pointer=place, detail=detail, remedy="a smaller budget"),))


def _refuse_many_extremes(search: Search, arms: int) -> None:
    values = sum(len(searched.list_extremes()) for _, searched in search.ranges)
    if values * arms > MAX_CELLS:
        detail = (
            f"{values} ends and values of ranges are checked for each of {arms} arms, which are more than {MAX_CELLS} "
            f"checks"
        )
        remedy = "fewer arms, or ranges of numbers instead of many values"
        raise StudyError((Problem(pointer="/search/space", detail=detail, remedy=remedy),))


def _read_trials(
    study: StudySpec, arms: Sequence[Arm], seeds: Sequence[int], problems: list[Problem]
) -> tuple[Cell, ...]:
    """Adds to `problems` what is wrong with the arms' specs."""
    specs = [read_spec(study, arm) for arm in arms]
    of_specs = [
        (arm, problem) for arm, read in zip(arms, specs, strict=True) for problem in read.problems
    ]
    problems += (
        _name_lacking(arms, of_specs) if study.search is not None else (p for _, p in of_specs)
    )
    return tuple(
        _trial(study, arm, read.spec, seed)
        for arm, read in zip(arms, specs, strict=True)
        if read.spec is not None
        for seed in seeds
    )


def _name_lacking(
    arms: Sequence[Arm], of_specs: Sequence[tuple[Arm, Problem]]
) -> Iterator[Problem]:
    """Of a field that is unknown in some variants only, which ones, and what limits a range to the others."""
    variants = dict.fromkeys(arm.variant for arm in arms)
    lacking: dict[str, dict[str, None]] = {}
    for arm, problem in of_specs:
        if problem.detail == _UNKNOWN:
            lacking.setdefault(problem.pointer, {})[arm.variant] = None
    for _, problem in of_specs:
        names = lacking.get(problem.pointer, {})
        if problem.detail == _UNKNOWN and len(names) < len(variants):
            detail = f"{_UNKNOWN} in {listed(list(names))}"
            remedy = "limit the range to the others, as `when: {norm.kind: group}` does"
            yield Problem(pointer=problem.pointer, detail=detail, remedy=remedy)
        else:
            yield problem


def _raise_if(problems: Iterable[Problem]) -> None:
    if several := tuple(dict.fromkeys(problems)):
        raise StudyError(several)


def _trial(study: StudySpec, arm: Arm, spec: JobSpec, seed: int) -> Cell:
    point = {**arm.point, **arm.setting}
    name = arm_name(arm.variant, point)
    return Cell(
        name=f"{name} | {'trial at ' * (arm != PRETRAINING_ARM)}seed {seed}",
        variant=arm.variant,
        point=point,
        seed=seed,
        spec=at_seed(study, spec.model_copy(update={"evaluations": ()}), seed),
        arm=name,
        trial=arm.setting,
    )
