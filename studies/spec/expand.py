"""From a study to its cells: variants × matrix × seeds, named, checked and located."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from runtime.documents import MAX_DEPTH, pointer
from studies.spec.feasibility import refuse_impossible
from studies.spec.merge import locate, merged, overlaid
from studies.spec.study import Splits, StudyError, StudySpec, arm_name
from studies.spec.tuning import Setting
from trainer.problems import did_you_mean, listed, problems
from trainer.spec import NEUTRAL_RESOURCES, JobSpec, Problem

MAX_CELLS = 10_000

#: The seed of a dataset that follows the job's.
_SEEDED: Mapping[Splits, str | None] = {
    "fixed": None, "resampled": "split_seed", "subsets": "subset_seed",
}  # fmt: skip

#: Of a job spec, what no part of a study may set.
_OF_THE_STUDY = ("seed", "project")


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
class _Arm:
    """A cell without its seed; `source` is where its point stands in the study document; `setting` is what
    tuning sets."""

    variant: str
    point: dict[str, Any]
    source: str
    setting: Mapping[str, Any] = field(default_factory=dict)


def expand(study: StudySpec, settings: Mapping[str, Setting] | None = None) -> tuple[Cell, ...]:
    """All cells, in the order of the document; raises `StudyError` with every problem found.

    `settings`: what tuning has chosen, by the name of the arm, in a study that was accepted: whether its metric,
    claims and figure can be had was checked then.
    """
    # Counted before they are made: ten paths of ten values would fill the memory.
    combinations = len(study.variants) * math.prod(map(len, study.matrix.values()))
    if combinations > MAX_CELLS:
        raise _wrong_size(study, combinations * len(study.seed_list))
    arms = [
        replace(arm, setting=(settings or {}).get(arm_name(arm.variant, arm.point), {}))
        for arm in _arms(study)
    ]
    size = len(arms) * len(study.seed_list)
    if not arms or size > MAX_CELLS:
        raise _wrong_size(study, size)
    found: list[Problem] = []
    # At the first seed only: cells of an arm differ in nothing else, and a study may have 10,000.
    specs = {index: _spec_of(study, arm, found) for index, arm in enumerate(arms)}
    # All problems at once: a document with three slips should not take three submissions.
    if found:
        raise StudyError(tuple(dict.fromkeys(found)))
    valid = [(arm, spec) for index, arm in enumerate(arms) if (spec := specs[index])]
    _refuse_repeats(valid)
    _refuse_equal_names(arms)
    _refuse_split_seeds(study, [spec for _, spec in valid])
    # A study that was accepted must stay trainable: a rule that has become stricter since is no reason to refuse
    # its further seeds.
    if settings is None:
        refuse_impossible(study, {arm_name(arm.variant, arm.point): spec for arm, spec in valid})
    return tuple(cell for arm, spec in valid for cell in _seeded(study, arm, spec))


def _seeded(study: StudySpec, arm: _Arm, spec: JobSpec) -> Iterator[Cell]:
    """The cells of an arm."""
    name = arm_name(arm.variant, arm.point)
    for seed in study.seed_list:
        yield Cell(
            name=f"{name} | seed {seed}",
            variant=arm.variant,
            point=arm.point,
            seed=seed,
            spec=_at_seed(study, spec, seed),
            arm=name,
        )


def expand_trials(study: StudySpec) -> tuple[Cell, ...]:
    """What tuning trains before the cells: every arm × setting × tuning seed; none without tuning. The test
    split stays sealed: trials are evaluated on validation alone. Raises `StudyError`."""
    if study.tune is None:
        return ()
    candidates = study.tune.candidates()
    found: list[Problem] = []
    trials = [replace(arm, setting=one) for arm in _arms(study) for one in candidates]
    size = len(trials) * len(study.tune.seeds)
    if size > MAX_CELLS:
        detail = f"{size} trials are more than the {MAX_CELLS} trainings of a study"
        raise StudyError((Problem(pointer="/tune", detail=detail, remedy="a smaller budget"),))
    specs: list[JobSpec | None] = [_spec_of(study, arm, found) for arm in trials]
    if found:
        raise StudyError(tuple(dict.fromkeys(found)))
    return tuple(
        _trial(study, arm, spec, seed)
        for arm, spec in zip(trials, specs, strict=True)
        if spec is not None
        for seed in study.tune.seeds
    )


def _trial(study: StudySpec, arm: _Arm, spec: JobSpec, seed: int) -> Cell:
    point = {**arm.point, **arm.setting}
    name = arm_name(arm.variant, point)
    return Cell(
        name=f"{name} | trial at seed {seed}",
        variant=arm.variant,
        point=point,
        seed=seed,
        spec=_at_seed(study, spec.model_copy(update={"evaluations": ()}), seed),
        arm=name,
        trial=arm.setting,
    )


def _at_seed(study: StudySpec, spec: JobSpec, seed: int) -> JobSpec:
    """Where splits are resampled or subsets drawn, the seed does that, too: alike in every variant."""
    seeded = _SEEDED[study.splits]
    if seeded is None:
        return spec.model_copy(update={"seed": seed})
    dataset = spec.dataset.model_copy(update={seeded: seed})
    return spec.model_copy(update={"seed": seed, "dataset": dataset})


def _refuse_split_seeds(study: StudySpec, specs: Sequence[JobSpec]) -> None:
    seeded = _SEEDED[study.splits]
    if seeded is None:
        return
    if any(getattr(spec.dataset, seeded) for spec in specs):
        detail = f"splits are {study.splits}, so that seed k is the {seeded}: none may be set"
        raise StudyError((Problem(pointer="/splits", detail=detail, remedy=f"remove {seeded}"),))
    if study.splits == "subsets" and any(spec.dataset.train_size is None for spec in specs):
        detail = "seed k draws the training examples, but train_size doesn't say how many"
        raise StudyError((Problem(pointer="/splits", detail=detail, remedy="set train_size"),))


def _wrong_size(study: StudySpec, size: int) -> StudyError:
    # Python refuses to print an integer of thousands of digits.
    shown = size if size < 10**12 else "more than 10**12"
    detail = f"a study has 1 to {MAX_CELLS} cells, but this one has {shown}"
    return StudyError((Problem(pointer="/matrix" if study.matrix else "/seeds", detail=detail),))


def _arms(study: StudySpec) -> list[_Arm]:
    points = [
        dict(zip(study.matrix, values, strict=True))
        for values in itertools.product(*study.matrix.values())
    ]
    arms = [_Arm(variant, point, "/matrix") for variant in study.variants for point in points]
    kept = [arm for arm in arms if not any(_matches(arm, entry) for entry in study.exclude)]
    _refuse_idle_excludes(study, arms)
    return kept + list(_included(study))


def _included(study: StudySpec) -> Iterator[_Arm]:
    for index, entry in enumerate(study.include):
        variant = entry.get("variant")
        if not isinstance(variant, str) or variant not in study.variants:
            known, meant = listed(study.variants), did_you_mean(variant, study.variants)
            detail = f"variant must be one of {known}, but got {variant!r}{meant}"
            raise StudyError((Problem(pointer=f"/include/{index}/variant", detail=detail),))
        point = {path: value for path, value in entry.items() if path != "variant"}
        yield _Arm(variant, point, f"/include/{index}")


def _matches(arm: _Arm, entry: Mapping[str, Any]) -> bool:
    # None may be a value of the matrix, so that it can't stand for a path that is missing.
    absent = object()
    have = {**arm.point, "variant": arm.variant}
    return bool(entry) and all(have.get(key, absent) == value for key, value in entry.items())


def _refuse_idle_excludes(study: StudySpec, arms: list[_Arm]) -> None:
    idle = tuple(
        Problem(
            pointer=f"/exclude/{index}",
            detail="matches no combination of variants and matrix"
            + did_you_mean(entry.get("variant"), study.variants),
        )
        for index, entry in enumerate(study.exclude)
        if not any(_matches(arm, entry) for arm in arms)
    )
    if idle:
        raise StudyError(idle)


def _spec_of(study: StudySpec, arm: _Arm, found: list[Problem]) -> JobSpec | None:
    """The arm's job spec at the first seed, or None with its problems added to `found`."""
    try:
        document = _document(study, arm)
        return JobSpec.model_validate(document)
    except StudyError as error:
        found.extend(error.problems)
    except ValidationError as error:
        found.extend(
            one.model_copy(update={"pointer": locate(study, arm.variant, arm.point, one.pointer)})
            for one in problems(error, document, JobSpec)
        )
    return None


def _document(study: StudySpec, arm: _Arm) -> dict[str, Any]:
    for place, part in (
        ("/base", study.base),
        (pointer("variants", arm.variant), study.variants[arm.variant]),
    ):
        for key in _OF_THE_STUDY:
            if key in part:
                raise StudyError((_misplaced(f"{place}/{key}", key),))
    document = merged(study.base, study.variants[arm.variant])
    for path, value in {**arm.point, **arm.setting}.items():
        if (key := path.split(".")[0]) in _OF_THE_STUDY:
            raise StudyError((_misplaced(_place_of(arm, path), key),))
        if (parts := path.count(".") + 1) > MAX_DEPTH:
            detail = f"the path has {parts} parts, and a document is at most {MAX_DEPTH} deep"
            raise StudyError((Problem(pointer=_place_of(arm, path), detail=detail),))
        document = _placed(document, path.split("."), value, arm, path)
    return {**document, "project": study.project, "seed": study.seed_list[0]}


def _misplaced(place: str, key: str) -> Problem:
    name = "seeds" if key == "seed" else key
    return Problem(pointer=place, detail=f"belongs to the study: write {name} there")


def _place_of(arm: _Arm, path: str) -> str:
    return ("/tune" if path in arm.setting else arm.source) + pointer(path)


def _placed(document: Any, path: list[str], value: Any, arm: _Arm, whole: str) -> Any:
    """A copy of the document with the value at the path; missing objects on the way are made."""
    if not path:
        return overlaid(document, value)
    head, rest = path[0], path[1:]
    # A path may lead into an object that doesn't exist yet, but not into a list that doesn't: `regularization.3`
    # of nothing is a slip.
    if isinstance(document, Mapping) or (document is None and not head.isdigit()):
        inside = dict(document or {})
        return {**inside, head: _placed(inside.get(head), rest, value, arm, whole)}
    if isinstance(document, list) and head in map(str, range(len(document))):
        index = int(head)
        changed = _placed(document[index], rest, value, arm, whole)
        return [*document[:index], changed, *document[index + 1 :]]
    detail = f"the path {whole!r} has no field {head!r} in variant {arm.variant!r}"
    raise StudyError((Problem(pointer=_place_of(arm, whole), detail=detail),))


def _refuse_repeats(valid: list[tuple[_Arm, JobSpec]]) -> None:
    seen: dict[str, _Arm] = {}
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
            names = [arm_name(one.variant, one.point) for one in (first, arm)]
            detail = f"{names[1]!r} would train exactly what {names[0]!r} trains"
            place = pointer("variants", arm.variant) if arm.source == "/matrix" else arm.source
            raise StudyError((Problem(pointer=place, detail=detail, remedy="remove one of them"),))


def _refuse_equal_names(arms: Sequence[_Arm]) -> None:
    """Points that say the last part of different paths, or 1 and "1", would get the same name."""
    seen: set[str] = set()
    for arm in arms:
        if (name := arm_name(arm.variant, arm.point)) in seen:
            detail = f"two arms would both be called {name!r}"
            remedy = "make one of them a variant of its own"
            raise StudyError((Problem(pointer=arm.source, detail=detail, remedy=remedy),))
        seen.add(name)
