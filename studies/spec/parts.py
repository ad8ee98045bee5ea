"""What can be read of a document beside its mistakes: so all of them are told at once, not one kind after the other."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from studies.spec.study import StudyError, StudySpec, read_study
from trainer.problems import problems
from trainer.spec import JobSpec, Problem

#: Of a study, what can't be judged where a variant is left out: it may name that one.
_OF_VARIANTS = ("baseline", "include", "exclude", "claims", "figure")
#: Of a study, what its jobs are made of; without it, each of them would have further mistakes.
_NEEDED = ("", "version", "base", "matrix")
#: Of a job, what has no default.
_NO_DEFAULT = ("", "version", "dataset", "model")


@dataclass(frozen=True, slots=True)
class ReadSpec:
    """A job spec, and what is wrong with its document: then the spec has defaults in place of the parts that are
    `unread`, or is None."""

    spec: JobSpec | None
    problems: tuple[Problem, ...] = ()
    unread: frozenset[str] = frozenset()


@contextmanager
def collect_problems(refused: list[Problem]) -> Iterator[None]:
    """What is refused inside is added."""
    try:
        yield
    except StudyError as error:
        refused += error.problems


def read_study_parts(document: Any) -> tuple[StudySpec | None, tuple[Problem, ...]]:
    """The study in a document, and what is wrong with it: then it is the study without that, or None."""
    refused: dict[Problem, None] = {}
    rest = document
    while rest is not None:
        try:
            return read_study(rest), tuple(refused)
        except StudyError as error:
            refused |= dict.fromkeys(error.problems)
            rest = _without_study_parts(rest, error.problems)
    return None, tuple(refused)


def read_job_parts(document: Any) -> ReadSpec:
    refused: list[tuple[Problem, ...]] = []
    rest = document
    spec = None
    while rest is not None and spec is None:
        try:
            spec = JobSpec.model_validate(rest)
        except ValidationError as error:
            refused.append(problems(error, rest, JobSpec))
            rest = _without_job_parts(rest, refused[-1])
    unread = frozenset(part_of(problem.pointer) for several in refused for problem in several)
    # Only what was found first: all later ones are of how parts fit together, and some of those are defaults then.
    return ReadSpec(spec, refused[0] if refused else (), unread)


def part_of(place: str) -> str:
    """The part of a spec that a pointer leads into."""
    return _segments(place)[0]


def _without_study_parts(document: Any, refused: Sequence[Problem]) -> dict[str, Any] | None:
    """None where nothing can be left out."""
    if not isinstance(document, Mapping):
        return None
    rest = dict(document)
    for part, inside in {_segments(problem.pointer)[:2] for problem in refused}:
        if part in _NEEDED:
            return None
        if part == "variants":
            if not isinstance(rest.get(part), Mapping) or inside not in rest[part]:
                return None
            rest[part] = {name: value for name, value in rest[part].items() if name != inside}
            rest = {name: value for name, value in rest.items() if name not in _OF_VARIANTS}
        elif part == "name":
            rest[part] = "study"
        elif part in ("seeds", "looks"):
            dropped = (part, "until", "tune", "search")
            rest = {name: value for name, value in rest.items() if name not in dropped}
        else:
            rest.pop(part, None)
    return rest if rest != document else None


def _without_job_parts(document: Any, refused: Sequence[Problem]) -> dict[str, Any] | None:
    """None where nothing can be left out."""
    if not isinstance(document, Mapping):
        return None
    rest = dict(document)
    for part, inside in {_segments(problem.pointer)[:2] for problem in refused}:
        if part in _NO_DEFAULT:
            fields = rest.get(part)
            if not isinstance(fields, Mapping) or inside not in fields or inside == "name":
                return None
            rest[part] = {name: value for name, value in fields.items() if name != inside}
        elif part == "norm":
            rest[part] = {"kind": "none"}
        else:
            rest.pop(part, None)
    return rest if rest != document else None


def _segments(place: str) -> tuple[str, ...]:
    """Of a JSON pointer: two at least."""
    segments = [segment.replace("~1", "/").replace("~0", "~") for segment in place.split("/")[1:]]
    return (*segments, "", "")
