"""The arms of a study, variants × points of the matrix, and the job spec of each."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.documents import MAX_DEPTH, pointer
from studies.spec.merge import find_patch, locate, merged, overlaid, search_place
from studies.spec.parts import ReadSpec, read_job_parts
from studies.spec.study import PRETRAINING, StudyError, StudySpec
from trainer.problems import did_you_mean, listed
from trainer.spec import Problem

#: Of a job spec, what no part of a study may set.
_OF_THE_STUDY = ("seed", "project")
#: As the job that an arm begins from, as long as the pretraining of its seed isn't there.
TO_BE_PRETRAINED = 2**53


@dataclass(frozen=True, slots=True)
class Arm:
    """A cell without its seed; `source` is where its point stands in the study document; `setting` is what
    tuning or a search sets."""

    variant: str
    point: dict[str, Any]
    source: str
    setting: Mapping[str, Any] = field(default_factory=dict)


#: Of studies with `pretrain`.
PRETRAINING_ARM = Arm(PRETRAINING, {}, "/pretrain")


def list_arms(study: StudySpec, problems: list[Problem]) -> list[Arm]:
    """In the order of the document; adds to `problems` what is wrong with combinations that are left out or added."""
    points = [
        dict(zip(study.matrix, values, strict=True))
        for values in itertools.product(*study.matrix.values())
    ]
    arms = [Arm(variant, point, "/matrix") for variant in study.variants for point in points]
    kept = [arm for arm in arms if not any(_matches(arm, entry) for entry in study.exclude)]
    problems += _idle_excludes(study, arms)
    return kept + list(_included(study, problems))


def find_arm(study: StudySpec, variant: str, point: Mapping[str, Any]) -> Arm:
    """The arm of a study that was accepted."""
    return next(
        arm for arm in list_arms(study, []) if arm.variant == variant and arm.point == point
    )


def _included(study: StudySpec, problems: list[Problem]) -> Iterator[Arm]:
    for index, entry in enumerate(study.include):
        variant = entry.get("variant")
        if isinstance(variant, str) and variant in study.variants:
            point = {path: value for path, value in entry.items() if path != "variant"}
            yield Arm(variant, point, f"/include/{index}")
        else:
            names, meant = listed(study.variants), did_you_mean(variant, study.variants)
            detail = f"variant must be one of {names}, but got {variant!r}{meant}"
            problems.append(Problem(pointer=f"/include/{index}/variant", detail=detail))


def _matches(arm: Arm, entry: Mapping[str, Any]) -> bool:
    # None may be a value of the matrix, so that it can't stand for a path that is missing.
    absent = object()
    have = {**arm.point, "variant": arm.variant}
    return bool(entry) and all(have.get(key, absent) == value for key, value in entry.items())


def _idle_excludes(study: StudySpec, arms: list[Arm]) -> Iterator[Problem]:
    for index, entry in enumerate(study.exclude):
        if not any(_matches(arm, entry) for arm in arms):
            yield Problem(
                pointer=f"/exclude/{index}",
                detail="matches no combination of variants and matrix"
                + did_you_mean(entry.get("variant"), study.variants),
            )


def read_spec(study: StudySpec, arm: Arm) -> ReadSpec:
    """What the arm trains at the first seed, as far as it can be read."""
    try:
        document = build_document(study, arm)
    except StudyError as error:
        return ReadSpec(None, error.problems)
    parts = read_job_parts(document)
    point = {**arm.point, **arm.setting}
    return replace(
        parts,
        spec=None if parts.spec is None else parts.spec.with_packages(study.plugins),
        problems=tuple(
            problem.model_copy(
                update={"pointer": locate(study, arm.variant, point, problem.pointer)}
            )
            for problem in parts.problems
        ),
    )


def build_document(study: StudySpec, arm: Arm) -> dict[str, Any]:
    """The job's document before it is read as a spec; raises `StudyError`."""
    patch, patch_place = find_patch(study, arm.variant)
    for place, part in (("/base", study.base), (patch_place, patch)):
        for key in _OF_THE_STUDY:
            if key in part:
                raise StudyError((_misplaced(f"{place}/{key}", key),))
    document = merged(study.base, patch)
    for path, value in {**arm.point, **arm.setting}.items():
        if (key := path.split(".")[0]) in _OF_THE_STUDY:
            raise StudyError((_misplaced(_place_of(study, arm, path), key),))
        if (parts := path.count(".") + 1) > MAX_DEPTH:
            detail = f"the path has {parts} parts, and a document is at most {MAX_DEPTH} deep"
            raise StudyError((Problem(pointer=_place_of(study, arm, path), detail=detail),))
        try:
            document = _placed(document, path.split("."), value)
        except KeyError as error:
            detail = f"the path {path!r} has no field {error.args[0]!r} in variant {arm.variant!r}"
            raise StudyError(
                (Problem(pointer=_place_of(study, arm, path), detail=detail),)
            ) from error
    if study.pretrain is not None:
        document = (
            _begin_pretraining(document, patch)
            if arm == PRETRAINING_ARM
            else _begin_from_it(study, arm, document)
        )
    return {**document, "project": study.project, "seed": study.seed_list[0]}


def _begin_pretraining(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What the base says of them is meant for the arms."""
    for key, why in (
        ("init_from", "a pretraining starts from random weights"),
        ("evaluations", "a pretraining is evaluated on validation alone"),
    ):
        if key in patch:
            raise StudyError((Problem(pointer=f"/pretrain/{key}", detail=why, remedy="remove it"),))
    return {
        key: value for key, value in document.items() if key not in ("init_from", "evaluations")
    }


def _begin_from_it(study: StudySpec, arm: Arm, document: dict[str, Any]) -> dict[str, Any]:
    """With `init_from` as the arm has it before the job is known; null: from scratch."""
    wanted = document.get("init_from", {})
    if not isinstance(wanted, Mapping):
        return document
    if given := [key for key in ("job", "digest") if key in wanted]:
        place = locate(study, arm.variant, arm.point, f"/init_from/{given[0]}")
        detail = "the study has pretrain: its arms begin from the pretraining of their seed, not from another job"
        remedy = (
            f"no {given[0]}, or no pretrain; a variant begins from scratch with `init_from: null`"
        )
        raise StudyError((Problem(pointer=place, detail=detail, remedy=remedy),))
    return {**document, "init_from": {**wanted, "job": TO_BE_PRETRAINED}}


def _misplaced(place: str, key: str) -> Problem:
    name = "seeds" if key == "seed" else key
    return Problem(pointer=place, detail=f"belongs to the study: write {name} there")


def _place_of(study: StudySpec, arm: Arm, path: str) -> str:
    if path not in arm.setting:
        return arm.source + pointer(path)
    return pointer("tune", path) if study.search is None else search_place(path)


def _placed(document: Any, path: list[str], value: Any) -> Any:
    """A copy of the document with the value at the path; missing objects on the way are made. Raises KeyError with what
    isn't there."""
    if not path:
        return overlaid(document, value)
    head, rest = path[0], path[1:]
    # A path may lead into an object that doesn't exist yet, but not into a list that doesn't: `regularization.3`
    # of nothing is a slip.
    if isinstance(document, Mapping) or (document is None and not head.isdigit()):
        inside = dict(document or {})
        return {**inside, head: _placed(inside.get(head), rest, value)}
    if isinstance(document, list) and head in map(str, range(len(document))):
        index = int(head)
        changed = _placed(document[index], rest, value)
        return [*document[:index], changed, *document[index + 1 :]]
    raise KeyError(head)
