"""Admission: from a document to a checked plan of jobs."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.http import Conflict, Invalid, parse
from api.processes import StillChecking
from api.schemas import Extension
from api.services import Services
from store.catalog import datasets
from store.db import Dataset, Study, User
from store.jobs import NewJob
from studies.comparison import refuse_unknown_kinds
from studies.spec import (
    Cell,
    StudySpec,
    expand,
    expand_trials,
    locate,
    read_study,
    refuse_unplanned_seeds,
)
from studies.tuning import chosen_settings
from trainer.problems import MOST_PROBLEMS, did_you_mean, listed
from trainer.spec import DatasetInfo, JobSpec, Problem, Report


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs that a document asks for and their datasets, all checked."""

    new: tuple[NewJob, ...]
    datasets: Mapping[str, Dataset]
    warnings: tuple[str, ...]
    arms: tuple["CheckedArm", ...]

    def cells(self, *, fresh: bool) -> list[NewJob]:
        """To be created; unless `fresh`, equal jobs that have succeeded may answer them. Exclusive ones are for timing:
        what another took says nothing of them."""
        return [replace(one, reuse=not (fresh or one.spec.resources.exclusive)) for one in self.new]


@dataclass(frozen=True, slots=True)
class CheckedArm:
    """Jobs that differ in their seeds only: the spec of the first, how many there are, and their report."""

    name: str
    variant: str | None
    point: Mapping[str, Any]
    spec: JobSpec
    jobs: int
    report: Report


@dataclass(frozen=True, slots=True)
class _Arm:
    """The cells of one variant at one point: they differ only in what no check looks at."""

    name: str
    variant: str
    point: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @property
    def spec(self) -> JobSpec:
        return self.cells[0].spec


def plan_job(services: Services, user: User, document: Any) -> Plan:
    """Raises `Invalid`, `Conflict` or `CheckerUnavailable`."""
    spec = parse(JobSpec, document)
    dataset, info = _find_dataset(services, spec.dataset.name, "/dataset/name")
    # Between the two transactions, not inside one: a check may wait for its turn and take seconds, and a
    # connection that is held meanwhile is missing elsewhere.
    report = services.checker.check(spec, info, user.id)
    if report.problems:
        raise Invalid(report.problems)
    name = _name_job(spec)
    return Plan(
        new=(NewJob(spec=spec, name=name, warnings=_collect_notes(report)),),
        datasets={dataset.name: dataset},
        warnings=_collect_notes(report),
        arms=(CheckedArm(name, None, {}, spec, 1, report),),
    )


def plan_study(services: Services, user: User, document: Any) -> tuple[StudySpec, Plan]:
    """Raises `StudyError`, `Invalid`, `Conflict` or `CheckerUnavailable`."""
    study = read_study(document)
    refuse_unplanned_seeds(study)
    refuse_unknown_kinds(study)
    # Expanded even where trials come first: the specs that the tuning will complete must be valid, too, or
    # the study would fail only when its trials have been paid for.
    cells = expand(study)
    return study, _plan_cells(services, user, study, expand_trials(study) or cells)


def plan_extension(
    services: Services, user: User, row: Study, extension: Extension
) -> tuple[StudySpec, Plan]:
    """The study with the additional seeds, and the jobs of all its cells; raises as `plan_study`."""
    study = _add_seeds(read_study(row.spec), extension)
    # A tuning that hasn't chosen yet has no settings to train with; its choice will create the jobs of the new
    # seeds as well.
    is_tuning = study.tune is not None and row.tuning is None
    cells = () if is_tuning else expand(study, chosen_settings(row))
    return study, _plan_cells(services, user, study, cells)


def _add_seeds(study: StudySpec, extension: Extension) -> StudySpec:
    present = study.seed_list
    if isinstance(extension.seeds, int):
        # Beyond the largest one, not into gaps: a seed that somebody left out on purpose stays out.
        following = max(present) + 1
        seeds = [*present, *range(following, following + extension.seeds)]
    else:
        seeds = list(dict.fromkeys([*present, *extension.seeds]))
    document = study.model_dump(mode="json")
    # 0, 1, …, n−1 is written as n: the study reads as if it had been submitted with that many.
    is_default = seeds == list(range(len(seeds)))
    return read_study({**document, "seeds": len(seeds) if is_default else seeds})


def _plan_cells(services: Services, user: User, study: StudySpec, cells: Sequence[Cell]) -> Plan:
    # One check for each arm, not for each cell: what is checked doesn't depend on the seed, and a study of 5
    # variants with 20 seeds needs 5 answers, not 100.
    arms = _group_arms(cells)
    datasets_by_name = _find_datasets(services, study, arms)
    reports = _check_arms(
        services, user, arms, {name: info for name, (_, info) in datasets_by_name.items()}
    )
    if problems := _locate_problems(study, arms, reports):
        raise Invalid(problems[:MOST_PROBLEMS])
    return Plan(
        new=tuple(
            NewJob(
                cell.spec, cell.name, cell.variant, cell.point, _collect_notes(report), cell.trial
            )
            for arm, report in zip(arms, reports, strict=True)
            for cell in arm.cells
        ),
        datasets={name: dataset for name, (dataset, _) in datasets_by_name.items()},
        warnings=_merge_warnings(arms, reports),
        arms=tuple(
            CheckedArm(arm.name, arm.variant, arm.point, arm.spec, len(arm.cells), report)
            for arm, report in zip(arms, reports, strict=True)
        ),
    )


def _name_job(spec: JobSpec) -> str:
    return f"{spec.model.name} · {spec.norm.kind} | seed {spec.seed}"


def _group_arms(cells: Iterable[Cell]) -> list[_Arm]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.arm, []).append(cell)
    return [
        _Arm(name, same[0].variant, same[0].point, tuple(same)) for name, same in groups.items()
    ]


def _find_dataset(services: Services, name: str, place: str) -> tuple[Dataset, DatasetInfo]:
    """The dataset, ready to be used; raises `Invalid` at that place, or `Conflict`."""
    with services.readers() as session:
        dataset = datasets.find(session, name)
        if dataset is None:
            names = datasets.names(session)
            detail = f"there is no dataset named {name!r}{did_you_mean(name, names)}"
            remedy = f"one of {listed(names)}; or register it: `normlab dataset add`, POST /api/v1/datasets"
            raise Invalid.at(place, detail, remedy)
    if dataset.status == "failed":
        detail = f"dataset {name!r} could not be registered: {dataset.error}"
        raise Invalid.at(place, detail, "register it again")
    # Without the digest and the shapes neither the check nor the job's hash can be computed, so this is not
    # an error of the document: the same request will succeed later.
    if dataset.info is None:
        detail = f"dataset {name!r} is still being registered; submit again when it is ready"
        raise Conflict(detail, headers={"Retry-After": "10"})
    return dataset, DatasetInfo.model_validate(dataset.info)


def _find_datasets(
    services: Services, study: StudySpec, arms: Sequence[_Arm]
) -> dict[str, tuple[Dataset, DatasetInfo]]:
    found: dict[str, tuple[Dataset, DatasetInfo]] = {}
    for arm in arms:
        name = arm.spec.dataset.name
        if name not in found:
            place = locate(study, arm.variant, arm.point, "/dataset/name")
            found[name] = _find_dataset(services, name, place)
    return found


def _check_arms(
    services: Services, user: User, arms: Sequence[_Arm], infos: Mapping[str, DatasetInfo]
) -> list[Report]:
    """One for each arm; the checker keeps its answers, so a later try gets further."""
    # One deadline for all arms: clients wait a minute for an answer, and many checks that each kept their own
    # limit would add up to more.
    deadline = time.monotonic() + services.settings.study_check_seconds
    reports: list[Report] = []
    for arm in arms:
        left = max(deadline - time.monotonic(), 0.0)
        info = infos[arm.spec.dataset.name]
        try:
            reports.append(services.checker.check(arm.spec, info, user.id, left))
        except StillChecking as error:
            if not reports:
                raise
            # The answers so far are in the cache, so a client that repeats the request after Retry-After
            # finds them at once and gets further each time.
            done = f"{len(reports)} of {len(arms)} combinations are checked and cached"
            raise StillChecking(done, retry_after=1) from error
    return reports


def _locate_problems(
    study: StudySpec, arms: Sequence[_Arm], reports: Sequence[Report]
) -> tuple[Problem, ...]:
    """The problems, once each, with pointers into the study as it was written."""
    problems = (
        one.model_copy(update={"pointer": locate(study, arm.variant, arm.point, one.pointer)})
        for arm, report in zip(arms, reports, strict=True)
        for one in report.problems
    )
    # A mistake in the base is found in every arm but stands in the document once, and so `locate` leads all
    # of them to one pointer.
    return tuple(dict.fromkeys(problems))


def _collect_notes(report: Report) -> tuple[str, ...]:
    """The warnings and notes that readers of the results must know."""
    return (*report.warnings, *report.notes)


def _merge_warnings(arms: Sequence[_Arm], reports: Sequence[Report]) -> tuple[str, ...]:
    """Each once, after the names of what it concerns: nothing where it concerns all, variants where it concerns
    them at every point, else arms."""
    concerned: dict[str, list[_Arm]] = {}
    for arm, report in zip(arms, reports, strict=True):
        for warning in dict.fromkeys(_collect_notes(report)):
            concerned.setdefault(warning, []).append(arm)
    return tuple(
        warning
        if len(arms_concerned) == len(arms) > 1
        else f"{listed(_name_arms(arms_concerned, arms))}: {warning}"
        for warning, arms_concerned in concerned.items()
    )


def _name_arms(some: Sequence[_Arm], arms: Sequence[_Arm]) -> list[str]:
    """Of some of the arms, the shortest that say which."""
    # A variant that is concerned at all of its points is named once. With variants a and b at two points
    # each, `a`, not `a | lr=0.1, a | lr=0.01`.
    points = Counter(arm.variant for arm in arms)
    whole = {
        variant
        for variant, count in Counter(one.variant for one in some).items()
        if count == points[variant]
    }
    return list(dict.fromkeys(one.variant if one.variant in whole else one.name for one in some))
