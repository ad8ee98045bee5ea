"""What a study that grows until it is decided can't be, and what it can't be given by hand."""

from studies.spec import StudyError, StudySpec
from studies.stats import has_direction, listed
from trainer.spec import Problem


def refuse_undecidable(study: StudySpec) -> None:
    """A new study that could only go on to its last look; raises `StudyError`."""
    if study.until is not None and not has_direction(study.metric):
        detail = f"{study.metric} is neither an accuracy nor a loss, so that no comparison of it is ever decided"
        remedy = "another metric, or a fixed number of seeds"
        raise StudyError((Problem(pointer="/metric", detail=detail, remedy=remedy),))


def refuse_between_looks(study: StudySpec) -> None:
    """Of a study that was given more seeds: with so many it would lie between two looks, where nothing may be decided;
    raises `StudyError`."""
    count = len(study.seed_list)
    if study.until is None or count in study.looks or count > study.looks[-1]:
        return
    following = next(look for look in study.looks if look > count)
    looks = listed([str(look) for look in study.looks])
    detail = f"would make {count} seeds, but the study grows by itself to its looks at {looks}"
    remedy = f"wait for it, or add seeds up to a look, such as {following}"
    raise StudyError((Problem(pointer="/seeds", detail=detail, remedy=remedy),))
