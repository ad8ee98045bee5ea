"""Checks and warnings of a spec about its dataset, its batches and its training."""

from collections.abc import Iterator

import numpy

from trainer.checks.context import CheckContext
from trainer.data import share_out
from trainer.errors import CutError
from trainer.spec import EpochDiagnostics, JobSpec, Problem, Step, StepDiagnostics

#: Of one job: more than this is said.
_MANY_ROWS = 100_000


def check_train_size(context: CheckContext) -> Iterator[Problem]:
    wanted, available = context.spec.dataset.train_size, context.sizes.available
    if wanted is not None and wanted > available:
        yield Problem(
            pointer="/dataset/train_size",
            detail=f"train_size is {wanted} but after validation and test {available} examples are left",
            remedy=f"train_size of at most {available}, or a smaller val_fraction",
        )


def check_validation_size(context: CheckContext) -> Iterator[Problem]:
    yield from _check_one_per_class(
        context, "validation", context.sizes.val, "/dataset/val_fraction"
    )


def check_test_size(context: CheckContext) -> Iterator[Problem]:
    """Only where one is cut: a test split of the set's own may lack classes."""
    if context.info.test_size is None:
        yield from _check_one_per_class(context, "test", context.sizes.test, "/dataset/name")


def check_training_size(context: CheckContext) -> Iterator[Problem]:
    cut = context.spec.dataset.train_size is not None
    pointer = "/dataset/train_size" if cut else "/dataset/val_fraction"
    yield from _check_one_per_class(
        context, "training", min(context.sizes.train, context.sizes.available), pointer
    )


def _check_one_per_class(
    context: CheckContext, part: str, count: int, pointer: str
) -> Iterator[Problem]:
    classes = len(context.info.classes)
    if count < max(classes, 1):
        yield Problem(
            pointer=pointer,
            detail=f"the {part} split would hold {count} examples but "
            + (f"each of the {classes} classes needs one" if classes else "needs at least one"),
            remedy="another train_size or val_fraction"
            if part != "test"
            else f"a dataset of at least {5 * classes} examples",
        )


def check_class_counts(context: CheckContext) -> Iterator[Problem]:
    """What only the counts of the classes show; sets registered before they were counted have none."""
    counts = context.info.class_counts
    if counts is None or any(True for rule in _FROM_SIZES for _ in rule(context)):
        return
    try:
        share_out(numpy.array(counts, dtype=numpy.int64), context.spec.dataset, context.info)
    except CutError as error:
        yield Problem(pointer=error.pointer, detail=str(error), remedy=error.remedy)


def check_at_least_one_step(context: CheckContext) -> Iterator[Problem]:
    if not context.batches:
        yield Problem(
            pointer="/training/batch_size",
            detail=f"batch_size is {context.spec.training.batch_size} but the training split has "
            f"{context.sizes.train} examples and drop_last drops incomplete batches, "
            "so the training has no step",
            remedy=f"batch_size of at most {context.sizes.train}, or drop_last: false",
        )


def warn_late_milestones(context: CheckContext) -> Iterator[str]:
    schedule, periods = context.spec.schedule, context.spec.periods
    if not isinstance(schedule, Step):
        return
    if late := [milestone for milestone in schedule.milestones if milestone >= periods]:
        yield (
            f"schedule.milestones {', '.join(map(str, late))} come after the last of the "
            f"{periods} evaluation periods and change nothing"
        )


def count_rows(spec: JobSpec, layers: int) -> int:
    """What a job records at most: a row for each evaluation period, and one for each layer that is measured."""
    match spec.diagnostics:
        case EpochDiagnostics():
            points = spec.periods
        case StepDiagnostics():
            points = spec.diagnostics.points
        case _:
            points = 0
    return spec.periods + points * layers


def warn_many_rows(spec: JobSpec, rows: int) -> Iterator[str]:
    if rows > _MANY_ROWS:
        measured = spec.diagnostics.kind != "off"
        yield (
            f"each job may record {rows:,} measurements, in {spec.periods:,} evaluation periods"
            f"{' with diagnostics' if measured else ''}: curves, reports and MLflow become slow "
            "(fewer: training.steps with a larger eval_every; diagnostics of kind steps, or of fewer layers)"
        )


_FROM_SIZES = (
    check_train_size,
    check_validation_size,
    check_test_size,
    check_training_size,
)
DATA_CHECKS = (*_FROM_SIZES, check_class_counts, check_at_least_one_step)
DATA_WARNINGS = (warn_late_milestones,)
