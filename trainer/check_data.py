"""Checks and warnings of a spec about its dataset, its batches and its training. Knows no layers."""

from collections.abc import Iterator

from trainer.case import Case
from trainer.spec import Step
from trainer.spec.report import Problem


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
            detail=f"the {part} split would hold {count} examples "
            f"but each of the {classes} classes needs one",
            remedy="another train_size or val_fraction"
            if part != "test"
            else f"a dataset of at least {5 * classes} examples",
        )


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


DATA_CHECKS = (
    train_size_too_large,
    too_few_for_validation,
    too_few_for_test,
    too_few_for_training,
    no_step,
)
DATA_WARNINGS = (late_milestones,)
