"""What is refused of new studies alone: those that were accepted must stay readable."""

from collections.abc import Iterator
from importlib.metadata import version as installed_version

from runtime.documents import pointer
from studies.spec.merge import search_place
from studies.spec.search import Tpe
from studies.spec.study import StudyError, StudySpec
from trainer.spec import Problem

#: What an arm can't choose for itself, by the first part of the path.
_NO_SETTINGS = {
    "dataset": "arms would be compared on different data",
    "task": "arms would be compared by different losses",
    "evaluations": "trials are evaluated on validation alone",
    "resources": "resources determine where a job runs, not what it trains",
}
#: The same examples, at another resolution.
_SETTING_OF_DATA = "dataset.image_size"


def refuse_unplanned_seeds(study: StudySpec) -> None:
    """A study is submitted with as many seeds as one of its looks has; raises `StudyError`."""
    count = len(study.seed_list)
    if study.looks and count not in study.looks:
        detail = f"must be as many as one of the looks {list(study.looks)}, but got {count}"
        raise StudyError((Problem(pointer="/seeds", detail=detail),))


def refuse_other_sampler(study: StudySpec) -> None:
    """A new study's search is proposed by the installed version; raises `StudyError`."""
    if study.search is None or not isinstance(study.search.sampler, Tpe):
        return
    version = installed_version("optuna")
    if study.search.sampler.optuna != version:
        got = study.search.sampler.optuna
        detail = f"must be {version}, the version of Optuna that this service uses, but got {got!r}"
        place = "/search/sampler/optuna"
        raise StudyError((Problem(pointer=place, detail=detail, remedy="leave it out"),))


def refuse_idle_factor(study: StudySpec) -> None:
    """The rule that it belongs to would be another one; raises `StudyError`."""
    stop = None if study.search is None else study.search.stop
    if stop is not None and stop.kind != "halving" and stop.factor is not None:
        detail = f"belongs to halving: {stop.kind} has no factor"
        remedy = "leave it out, or kind: halving"
        raise StudyError((Problem(pointer="/search/stop/factor", detail=detail, remedy=remedy),))


def refuse_unfair_settings(study: StudySpec) -> None:
    """Tuning and search set nothing that arms must have in common; raises `StudyError`."""
    if problems := tuple(_find_unfair_settings(study)):
        raise StudyError(problems)


def _find_unfair_settings(study: StudySpec) -> Iterator[Problem]:
    for path in study.tuned_paths:
        why = _NO_SETTINGS.get(path.split(".")[0])
        if why is not None and path != _SETTING_OF_DATA:
            yield Problem(
                pointer=pointer("tune", path) if study.search is None else search_place(path),
                detail=f"can't be chosen by each arm for itself: {why}",
                remedy="set it in `base`, or compare the arms at each of its values in `matrix`",
            )
