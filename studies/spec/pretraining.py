"""`pretrain`: what is refused of it, and the cells that begin from it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from studies.spec.arms import PRETRAINING_ARM, list_arms, read_spec
from studies.spec.expand import SEEDED, Cell, expand
from studies.spec.study import PRETRAINING, StudyError, StudySpec
from trainer.spec import InitFrom, JobSpec, Problem

#: What else makes jobs of a study follow from others.
_INSTEAD = ("tune", "search", "until")


def refuse_idle_pretraining(study: StudySpec) -> None:
    """Of a new study; raises `StudyError`."""
    if study.pretrain is not None and (problems := tuple(_find_problems(study))):
        raise StudyError(problems)


def expand_pretrained(
    study: StudySpec, seed: int, find: Callable[[InitFrom], InitFrom]
) -> tuple[Cell, ...]:
    """The cells of one seed, of a study that was accepted. `find`: with the job of the pretraining, and the digest of its
    checkpoint."""
    return tuple(
        replace(cell, spec=cell.spec.model_copy(update={"init_from": find(cell.spec.init_from)}))
        if cell.spec.init_from is not None
        else cell
        for cell in expand(study.with_seeds([seed]), {})
    )


def _find_problems(study: StudySpec) -> Iterator[Problem]:
    for name in _INSTEAD:
        if getattr(study, name) is not None:
            field = "seeds" if name == "until" else name
            what = "that grows until it is decided" if name == "until" else f"with {name}"
            detail = f"a study {what} can't have a pretraining"
            remedy = f"no pretrain, or no {name}" if field == name else "a number of seeds"
            yield Problem(pointer=f"/{field}", detail=detail, remedy=remedy)
    if PRETRAINING in study.variants:
        detail = f"in a study with pretrain, {PRETRAINING!r} is the name of the pretraining's jobs"
        yield Problem(pointer=f"/variants/{PRETRAINING}", detail=detail, remedy="another name")
        return
    specs = [read_spec(study, arm).spec for arm in list_arms(study, [])]
    arms = [spec for spec in specs if spec is not None]
    if arms and all(spec.init_from is None for spec in arms):
        detail = "every variant has `init_from: null`, so that none begins from the pretraining"
        yield Problem(pointer="/pretrain", detail=detail, remedy="no pretrain")
    if (own := read_spec(study, PRETRAINING_ARM).spec) is not None:
        yield from _find_other_device(own, arms)
        yield from _find_other_cut(study, own, arms)


def _find_other_device(own: JobSpec, arms: Sequence[JobSpec]) -> Iterator[Problem]:
    """The first job that starts decides where all jobs of a study are trained, and it is a pretraining."""
    wanted = sorted({spec.resources.device for spec in (own, *arms)})
    if len(wanted) > 1:
        detail = f"the pretraining and all arms are trained on one kind of device, but they ask for {' and '.join(wanted)}"
        yield Problem(
            pointer="/pretrain", detail=detail, remedy="resources.device in the base alone"
        )


def _find_other_cut(study: StudySpec, own: JobSpec, arms: Sequence[JobSpec]) -> Iterator[Problem]:
    """Examples that test the arms must not be among those of the pretraining."""
    seeded = SEEDED[study.splits]
    if seeded is not None and getattr(own.dataset, seeded):
        detail = f"splits are {study.splits}, so that seed k is the {seeded}: none may be set"
        yield Problem(
            pointer=f"/pretrain/dataset/{seeded}", detail=detail, remedy=f"remove {seeded}"
        )
    if seeded == "split_seed":
        return
    for spec in arms:
        dataset = spec.dataset
        if dataset.name == own.dataset.name and dataset.split_seed != own.dataset.split_seed:
            detail = (
                f"the pretraining cuts {dataset.name} by split_seed {own.dataset.split_seed} and an arm by "
                f"{dataset.split_seed}: it would train on examples that test the arm"
            )
            yield Problem(
                pointer="/pretrain/dataset/split_seed", detail=detail, remedy="the same split_seed"
            )
            return
