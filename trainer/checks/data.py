"""Checks and warnings of a spec about its dataset, its batches and its training."""

from collections.abc import Iterator

import numpy

from trainer.checks.context import Case
from trainer.data import share_out
from trainer.errors import CutError
from trainer.spec import Problem, Step


def train_size_too_large(case: Case) -> Iterator[Problem]:
    wanted, available = case.spec.dataset.train_size, case.sizes.available
    if wanted is not None and wanted > available:
        yield Problem(
            pointer="/dataset/train_size",
            detail=f"train_size is {wanted} but after validation and test {available} examples are left",
            remedy=f"train_size of at most {available}, or a smaller val_fraction",
        )


def too_few_for_validation(case: Case) -> Iterator[Problem]:
    yield from _one_per_class(case, "validation", case.sizes.val, "/dataset/val_fraction")


def too_few_for_test(case: Case) -> Iterator[Problem]:
    """Only where one is cut: a test split of the set's own may lack classes."""
    if case.info.test_size is None:
        yield from _one_per_class(case, "test", case.sizes.test, "/dataset/name")


def too_few_for_training(case: Case) -> Iterator[Problem]:
    cut = case.spec.dataset.train_size is not None
    pointer = "/dataset/train_size" if cut else "/dataset/val_fraction"
    yield from _one_per_class(
        case, "training", min(case.sizes.train, case.sizes.available), pointer
    )


def _one_per_class(case: Case, part: str, count: int, pointer: str) -> Iterator[Problem]:
    classes = len(case.info.classes)
    if count < max(classes, 1):
        yield Problem(
            pointer=pointer,
            detail=f"the {part} split would hold {count} examples but "
            + (f"each of the {classes} classes needs one" if classes else "needs at least one"),
            remedy="another train_size or val_fraction"
            if part != "test"
            else f"a dataset of at least {5 * classes} examples",
        )


def class_too_small(case: Case) -> Iterator[Problem]:
    """What only the counts of the classes show; sets registered before they were counted have none."""
    counts = case.info.class_counts
    if counts is None or any(True for rule in _FROM_SIZES for _ in rule(case)):
        return
    try:
        share_out(numpy.array(counts, dtype=numpy.int64), case.spec.dataset, case.info)
    except CutError as error:
        yield Problem(pointer=error.pointer, detail=str(error), remedy=error.remedy)


def no_step(case: Case) -> Iterator[Problem]:
    if not case.batches:
        yield Problem(
            pointer="/training/batch_size",
            detail=f"batch_size is {case.spec.training.batch_size} but the training split has "
            f"{case.sizes.train} examples and drop_last leaves out an incomplete batch: "
            "there would be no step",
            remedy=f"batch_size of at most {case.sizes.train}, or drop_last: false",
        )


def late_milestones(case: Case) -> Iterator[str]:
    schedule, periods = case.spec.schedule, case.spec.periods
    if not isinstance(schedule, Step):
        return
    if late := [milestone for milestone in schedule.milestones if milestone >= periods]:
        yield (
            f"schedule.milestones {', '.join(map(str, late))} come after the last of the "
            f"{periods} evaluation periods and change nothing"
        )


_FROM_SIZES = (
    train_size_too_large,
    too_few_for_validation,
    too_few_for_test,
    too_few_for_training,
)
DATA_CHECKS = (*_FROM_SIZES, class_too_small, no_step)
DATA_WARNINGS = (late_milestones,)
