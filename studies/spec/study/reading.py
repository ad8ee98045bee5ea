"""From a document to a study, or to what is wrong with it."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from studies.spec.study.document import StudySpec
from trainer.problems import problems
from trainer.spec import Problem


class StudyError(ValueError):
    """The study cannot be trained as written."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{problem.pointer}: {problem.detail}" for problem in problems))
        self.problems = problems


def read_study(document: Any) -> StudySpec:
    """The study in a document; raises `StudyError`."""
    if isinstance(document, Mapping) and "base" in document and "variants" not in document:
        raise StudyError((_LACKS_VARIANTS,))
    try:
        return StudySpec.model_validate(document)
    except ValidationError as error:
        raise StudyError(problems(error, document, StudySpec)) from error


#: Told alone: what else is wrong depends on whether it is meant to be a study at all.
_LACKS_VARIANTS = Problem(
    pointer="/variants",
    detail="a study needs `variants`, but there are none: each is a name with what it changes in `base`",
    remedy="add `variants: {NAME: {norm: {kind: batch}}, …}`; for a single job, write what is in `base` at the top",
)


def is_study(document: Any) -> bool:
    """Whether a document means a study rather than a single job. With a base but no variants it is a study that isn't
    whole yet, and is told so."""
    return isinstance(document, Mapping) and ("variants" in document or "base" in document)
