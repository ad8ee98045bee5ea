"""Admission: from a document to a checked plan of jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from api.checks import (
    Arm,
    begin_arms,
    check_arms,
    describe_source,
    find_dataset,
    find_datasets,
    find_initial_weights,
    find_packages,
    find_packages_of,
    group_arms,
    locate_problems,
    name_dataset,
    note_initial_weights,
    seconds_of_check,
    select_read,
    unless,
)
from api.http import Invalid
from api.schemas import Extension
from api.services import Services
from store.db import Dataset, Study, User
from store.jobs import NewJob
from studies.comparison import refuse_unknown_kinds
from studies.planning import refuse_between_looks, refuse_undecidable
from studies.spec import (
    Cell,
    StudySpec,
    collect_problems,
    count_most_cells,
    count_trials,
    expand,
    expand_extremes,
    expand_parts,
    expand_trials,
    part_of,
    read_job_parts,
    read_study,
    read_study_parts,
    refuse_idle_factor,
    refuse_idle_pretraining,
    refuse_other_sampler,
    refuse_unfair_settings,
    refuse_unplanned_seeds,
)
from studies.tuning import chosen_settings
from trainer.problems import MOST_PROBLEMS, listed
from trainer.spec import JobSpec, Problem, Report

#: Of a study, what may have a mistake in one part and another one in the next.
_WITH_PARTS = {"base", "variants", "matrix"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs that a document asks for and their datasets, all checked. `arms`: of the jobs, in their order; behind those of
    pretrainings, the arms that begin from them."""

    new: tuple[NewJob, ...]
    datasets: Mapping[str, Dataset]
    warnings: tuple[str, ...]
    arms: tuple["CheckedArm", ...]
    grows: bool = False

    def cells(self, *, fresh: bool) -> list[NewJob]:
        """To be created; unless `fresh`, equal jobs that have succeeded may answer them. Exclusive ones are for timing:
        what another took says nothing of them. Those of a study that grows are trained, as trials are: the transaction in
        which the last of them ends makes the next ones."""
        is_trained = fresh or self.grows
        return [
            replace(one, reuse=not (is_trained or one.spec.resources.exclusive)) for one in self.new
        ]


@dataclass(frozen=True, slots=True)
class CheckedArm:
    """Jobs that differ in their seeds only: the spec of the first, how many there are, and their report."""

    name: str
    variant: str | None
    point: Mapping[str, Any]
    spec: JobSpec
    jobs: int
    report: Report


def plan_job(services: Services, user: User, document: Any) -> Plan:
    """Raises `Invalid` with all that is wrong, `Conflict` or `CheckerUnavailable`."""
    read = read_job_parts(document)
    found = list(read.problems)
    name = name_dataset(document) if read.spec is None else read.spec.dataset.name
    known = find_dataset(services, name, "/dataset/name", found) if name is not None else None
    report, spec, weights = Report(), read.spec, None
    if spec is not None:
        spec, weights = find_initial_weights(services, spec, "/init_from", found)
        spec = spec.with_packages(find_packages(spec, "", found))
    if spec is not None and known is not None:
        # Between the two transactions, not inside one: a check may wait for its turn and take seconds, and a
        # connection that is held meanwhile is missing elsewhere.
        with unless(found):
            report = services.checker.check(
                spec,
                known[1],
                user.id,
                seconds_of_check(services, found),
                describe_source(weights),
            )
        report = note_initial_weights(spec, report, weights)
        found += select_read(report.problems, read.unread)
    if found or spec is None or known is None:
        raise Invalid(list(dict.fromkeys(found))[:MOST_PROBLEMS])
    _ensure_few_rows(services, user, report.rows)
    dataset, name = known[0], _name_job(spec)
    return Plan(
        new=(NewJob(spec=spec, name=name, warnings=_collect_notes(report)),),
        datasets={dataset.name: dataset},
        warnings=_collect_notes(report),
        arms=(CheckedArm(name, None, {}, spec, 1, report),),
    )


def plan_study(services: Services, user: User, document: Any) -> tuple[StudySpec, Plan]:
    """Raises `Invalid` with all that is wrong, `Conflict` or `CheckerUnavailable`."""
    study, problems = read_study_parts(document)
    found = list(problems)
    if study is None:
        raise Invalid(found[:MOST_PROBLEMS])
    for refuse in (
        refuse_unplanned_seeds,
        refuse_other_sampler,
        refuse_idle_factor,
        refuse_unfair_settings,
        refuse_idle_pretraining,
        refuse_unknown_kinds,
        refuse_undecidable,
    ):
        with collect_problems(found):
            refuse(study)
    # Expanded even where trials come first: the specs that the tuning will complete must be valid, too, or
    # the study would fail only when its trials have been paid for.
    expansion = expand_parts(study)
    # Of a part that can't be read, a default stands in its place.
    unread = {part_of(one.pointer) for one in problems} - _WITH_PARTS
    found += [one for one in expansion.problems if part_of(one.pointer) not in unread]
    trials: Sequence[Cell] = ()
    extremes: Sequence[Cell] = ()
    with collect_problems(found):
        trials = expand_trials(study)
        # What begins from a pretraining is made later, as what a search proposes is.
        extremes = expand_extremes(study) if study.pretrain is None else expansion.cells
    # Settings that are tried may name plugins that no cell has before one is chosen.
    study = find_packages_of(study, [*expansion.cells, *trials, *extremes], found)
    pinned, expected, possible = (
        [replace(one, spec=one.spec.with_packages(study.plugins)) for one in cells]
        for cells in (expansion.cells, trials, extremes)
    )
    return study, _plan_cells(
        services, user, study, expected or pinned, found, expansion.unread, possible
    )


def plan_extension(
    services: Services, user: User, row: Study, extension: Extension
) -> tuple[StudySpec, Plan]:
    """The study with the additional seeds, and the jobs of all its cells; raises as `plan_study`."""
    # Read again: with so many seeds it may break a rule.
    grown = _add_seeds(read_study(row.spec), extension)
    study = read_study(grown.model_dump(mode="json"))
    found: list[Problem] = []
    with collect_problems(found):
        refuse_between_looks(study)
    # A tuning that hasn't chosen yet has no settings to train with; its choice will create the jobs of the new
    # seeds as well.
    is_tuning = bool(study.tuned_paths) and row.tuning is None
    cells = () if is_tuning else expand(study, chosen_settings(row))
    find_packages_of(study, cells, found)
    if study.pretrain is None:
        return study, _plan_cells(services, user, study, cells, found)
    # Of the other seeds, what begins from a pretraining was made when it ended, or will be.
    return study, _plan_cells(services, user, study, expand_trials(study), found, extremes=cells)


def _add_seeds(study: StudySpec, extension: Extension) -> StudySpec:
    if isinstance(extension.seeds, int):
        return study.add_seeds(extension.seeds)
    return study.with_seeds(list(dict.fromkeys([*study.seed_list, *extension.seeds])))


def _plan_cells(
    services: Services,
    user: User,
    study: StudySpec,
    cells: Sequence[Cell],
    problems: Sequence[Problem] = (),
    unread: Mapping[str, frozenset[str]] = MappingProxyType({}),
    extremes: Sequence[Cell] = (),
) -> Plan:
    """`problems`: what is wrong already; `unread`: by arm, the parts of its spec that could not be read; `extremes`: what a
    search may come upon, checked with the cells and not created."""
    # One check for each arm, not for each cell: what is checked doesn't depend on the seed, and a study of 5
    # variants with 20 seeds needs 5 answers, not 100.
    found = list(problems)
    arms = begin_arms(services, study, group_arms(cells), found)
    checked = (
        begin_arms(services, study, group_arms([*cells, *extremes]), found) if extremes else arms
    )
    datasets_by_name = find_datasets(services, study, checked, found)
    known = [arm for arm in checked if arm.spec.dataset.name in datasets_by_name]
    infos = {name: info for name, (_, info) in datasets_by_name.items()}
    reports: list[Report] = []
    with unless(found):
        reports.extend(check_arms(services, user, known, infos, seconds_of_check(services, found)))
    found += locate_problems(study, known, reports, unread)
    if found:
        raise Invalid(list(dict.fromkeys(found))[:MOST_PROBLEMS])
    # What is trained after pretrainings is known, what is after trials not yet.
    arms = checked if study.pretrain is not None else arms
    # Those of the cells come first.
    reports = reports[: len(arms)]
    rows = sum(len(arm.cells) * report.rows for arm, report in zip(arms, reports, strict=True))
    # What is made later is as large as what is made now.
    _ensure_few_rows(services, user, round(rows * _share_planned(study, cells)))
    return Plan(
        new=tuple(
            NewJob(
                cell.spec, cell.name, cell.variant, cell.point, _collect_notes(report), cell.trial
            )
            for arm, report in zip(arms, reports, strict=True)
            for cell in arm.cells
            if study.pretrain is None or cell.trial is not None
        ),
        datasets={name: dataset for name, (dataset, _) in datasets_by_name.items()},
        warnings=_merge_warnings(arms, reports),
        arms=tuple(
            CheckedArm(arm.name, arm.variant, arm.point, arm.spec, len(arm.cells), report)
            for arm, report in zip(arms, reports, strict=True)
        ),
        grows=study.until is not None,
    )


def _share_planned(study: StudySpec, cells: Sequence[Cell]) -> float:
    """How many times as many jobs it comes to have by itself, at most: the other trials of a search, what is trained with the
    settings that trials choose, and the seeds of later looks."""
    if not cells or study.pretrain is not None:
        return 1.0
    if cells[0].trial is None:
        return study.most_seeds / len(study.seed_list)
    return (count_trials(study) + count_most_cells(study)) / len(cells)


def _ensure_few_rows(services: Services, user: User, rows: int) -> None:
    """Raises `Invalid`: all that is read later, by everybody, takes longer for them."""
    most = services.settings.planned_rows
    if rows > most and user.role != "admin":
        raise Invalid.at(
            "",
            f"would record up to {rows:,} measurements, and at most {most:,} may be planned at once by anyone but "
            "an admin",
            "fewer epochs or a larger training.eval_every, diagnostics of kind steps or of fewer layers, "
            "fewer jobs; or ask an admin to submit it",
        )


def _name_job(spec: JobSpec) -> str:
    return f"{spec.model.name} · {spec.norm.kind} | seed {spec.seed}"


def _collect_notes(report: Report) -> tuple[str, ...]:
    """The warnings and notes that readers of the results must know."""
    return (*report.warnings, *report.notes)


def _merge_warnings(arms: Sequence[Arm], reports: Sequence[Report]) -> tuple[str, ...]:
    """Each once, after the names of what it concerns: nothing where it concerns all, variants where it concerns
    them at every point, else arms."""
    concerned: dict[str, list[Arm]] = {}
    for arm, report in zip(arms, reports, strict=True):
        for warning in dict.fromkeys(_collect_notes(report)):
            concerned.setdefault(warning, []).append(arm)
    return tuple(
        warning
        if len(arms_concerned) == len(arms) > 1
        else f"{listed(_name_arms(arms_concerned, arms))}: {warning}"
        for warning, arms_concerned in concerned.items()
    )


def _name_arms(some: Sequence[Arm], arms: Sequence[Arm]) -> list[str]:
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
