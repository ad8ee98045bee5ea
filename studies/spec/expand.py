"""From a study to its cells: variants × matrix × seeds, named, checked and located."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.documents import pointer
from studies.spec.arms import Arm, list_arms, read_spec
from studies.spec.feasibility import refuse_impossible
from studies.spec.parts import collect_problems
from studies.spec.study import Splits, StudyError, StudySpec, arm_name
from studies.spec.tuning import Setting
from trainer.spec import NEUTRAL_RESOURCES, JobSpec, Problem

MAX_CELLS = 10_000

#: The seed of a dataset that follows the job's.
SEEDED: Mapping[Splits, str | None] = {
    "fixed": None, "resampled": "split_seed", "subsets": "subset_seed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """Variant × matrix point × seed: what a study trains, at most one job each."""

    name: str
    variant: str
    point: dict[str, Any]
    seed: int
    spec: JobSpec
    #: The name of its arm, which it shares with the cells of the other seeds.
    arm: str
    trial: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """The cells of a study, and all that is wrong with it. Where there is something, cells are what can be read beside
    it; `unread`: by arm, the parts of its spec that are defaults in place of what can't be read."""

    cells: tuple[Cell, ...]
    problems: tuple[Problem, ...] = ()
    unread: Mapping[str, frozenset[str]] = field(default_factory=dict)


def expand(study: StudySpec, settings: Mapping[str, Setting] | None = None) -> tuple[Cell, ...]:
    """All cells, in the order of the document; raises `StudyError` with every problem found.

    `settings`: what tuning has chosen, by the name of the arm, in a study that was accepted: whether its metric,
    claims and figure can be had was checked then.
    """
    expansion = expand_parts(study, settings)
    if expansion.problems:
        raise StudyError(expansion.problems)
    return expansion.cells


def expand_parts(study: StudySpec, settings: Mapping[str, Setting] | None = None) -> Expansion:
    """As `expand`, of a study in which something may be wrong."""
    # Counted before they are made: ten paths of ten values would fill the memory.
    combinations = len(study.variants) * math.prod(map(len, study.matrix.values()))
    if combinations > MAX_CELLS:
        return Expansion((), (_wrong_size(study, combinations * study.most_seeds),))
    # All problems at once: a document with three slips should not take three submissions.
    problems: list[Problem] = []
    arms = [
        replace(arm, setting=(settings or {}).get(arm_name(arm.variant, arm.point), {}))
        for arm in list_arms(study, problems)
    ]
    size = len(arms) * study.most_seeds
    if not arms or size > MAX_CELLS:
        return Expansion((), (*problems, _wrong_size(study, size)))
    # At the first seed only: cells of an arm differ in nothing else, and a study may have 10,000.
    specs = [read_spec(study, arm) for arm in arms]
    of_specs = [problem for read in specs for problem in read.problems]
    valid = [
        (arm, read.spec) for arm, read in zip(arms, specs, strict=True) if read.spec is not None
    ]
    # What holds between arms is seen only where all of them can be read.
    problems += of_specs or _refuse_together(study, arms, valid, is_new=settings is None)
    return Expansion(
        tuple(cell for arm, spec in valid for cell in _seeded(study, arm, spec)),
        tuple(dict.fromkeys(problems)),
        {arm_name(a.variant, a.point): read.unread for a, read in zip(arms, specs, strict=True)},
    )


def _refuse_together(
    study: StudySpec, arms: Sequence[Arm], valid: list[tuple[Arm, JobSpec]], *, is_new: bool
) -> list[Problem]:
    problems: list[Problem] = []
    with collect_problems(problems):
        _refuse_repeats(valid)
        _refuse_equal_names(arms)
    with collect_problems(problems):
        _refuse_split_seeds(study, [spec for _, spec in valid])
    # A study that was accepted must stay trainable: a rule that has become stricter since is no reason to refuse
    # its further seeds.
    if is_new:
        with collect_problems(problems):
            refuse_impossible(study, {arm_name(a.variant, a.point): spec for a, spec in valid})
    return problems


def _seeded(study: StudySpec, arm: Arm, spec: JobSpec) -> Iterator[Cell]:
    """The cells of an arm."""
    name = arm_name(arm.variant, arm.point)
    for seed in study.seed_list:
        yield Cell(
            name=f"{name} | seed {seed}",
            variant=arm.variant,
            point=arm.point,
            seed=seed,
            spec=at_seed(study, spec, seed),
            arm=name,
        )


def at_seed(study: StudySpec, spec: JobSpec, seed: int) -> JobSpec:
    """Where splits are resampled or subsets drawn, the seed does that, too: alike in every variant."""
    seeded = SEEDED[study.splits]
    # A pretraining may have all examples where subsets are drawn for the arms.
    is_whole = seeded == "subset_seed" and spec.dataset.train_size is None
    if seeded is None or is_whole:
        return spec.model_copy(update={"seed": seed})
    dataset = spec.dataset.model_copy(update={seeded: seed})
    return spec.model_copy(update={"seed": seed, "dataset": dataset})


def _refuse_split_seeds(study: StudySpec, specs: Sequence[JobSpec]) -> None:
    seeded = SEEDED[study.splits]
    if seeded is None:
        return
    if any(getattr(spec.dataset, seeded) for spec in specs):
        detail = f"splits are {study.splits}, so that seed k is the {seeded}: none may be set"
        raise StudyError((Problem(pointer="/splits", detail=detail, remedy=f"remove {seeded}"),))
    if study.splits == "subsets" and any(spec.dataset.train_size is None for spec in specs):
        detail = "seed k draws the training examples, but train_size doesn't say how many"
        raise StudyError((Problem(pointer="/splits", detail=detail, remedy="set train_size"),))


def _wrong_size(study: StudySpec, size: int) -> Problem:
    # Python refuses to print an integer of thousands of digits.
    shown = size if size < 10**12 else "more than 10**12"
    detail = f"a study has 1 to {MAX_CELLS} cells, but this one has {shown}"
    return Problem(pointer="/matrix" if study.matrix else "/seeds", detail=detail)


def _refuse_repeats(valid: list[tuple[Arm, JobSpec]]) -> None:
    seen: dict[str, Arm] = {}
    for arm, spec in valid:
        # Two arms that train the same would enlarge the family of comparisons, and their difference would be exactly
        # zero.
        beside: dict[str, Any] = {
            "project": True,
            "seed": True,
            "resources": dict(NEUTRAL_RESOURCES),
        }
        content = spec.model_dump_json(exclude=beside)
        first = seen.setdefault(content, arm)
        if first is not arm:
            names = [arm_name(each.variant, each.point) for each in (first, arm)]
            detail = f"{names[1]!r} would train exactly what {names[0]!r} trains"
            place = pointer("variants", arm.variant) if arm.source == "/matrix" else arm.source
            raise StudyError((Problem(pointer=place, detail=detail, remedy="remove one of them"),))


def _refuse_equal_names(arms: Sequence[Arm]) -> None:
    """Points that say the last part of different paths, or 1 and "1", would get the same name."""
    seen: set[str] = set()
    for arm in arms:
        if (name := arm_name(arm.variant, arm.point)) in seen:
            detail = f"two arms would both be called {name!r}"
            remedy = "make one of them a separate variant"
            raise StudyError((Problem(pointer=arm.source, detail=detail, remedy=remedy),))
        seen.add(name)
