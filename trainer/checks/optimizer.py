"""Checks of a spec about its optimizer: what least squares can do."""

from collections.abc import Iterator

from trainer.checks.context import Case
from trainer.spec import EpochTraining, LeastSquares, Polynomial, Problem

_REMEDY = "optimizer: {kind: sgd}"


def least_squares_elsewhere(case: Case) -> Iterator[Problem]:
    if _asked(case) and not isinstance(case.spec.model, Polynomial):
        yield Problem(
            pointer="/optimizer/kind",
            detail=f"least_squares solves what is linear in its weights, which {case.spec.model.name} isn't",
            remedy=f"{_REMEDY}, or model: {{name: polynomial}}",
        )


def least_squares_in_parts(case: Case) -> Iterator[Problem]:
    """One batch of all examples, once."""
    if not _asked(case) or not isinstance(case.spec.model, Polynomial):
        return
    training, train = case.spec.training, case.sizes.train
    if training.batch_size < train:
        yield Problem(
            pointer="/training/batch_size",
            detail=f"least_squares takes all {train} training examples at once but batch_size is "
            f"{training.batch_size}",
            remedy=f"batch_size of at least {train}",
        )
    elif training.accumulate > 1:
        yield Problem(
            pointer="/training/accumulate",
            detail=f"least_squares takes all examples at once but accumulate is {training.accumulate}",
            remedy="accumulate: 1",
        )
    elif (periods := case.spec.periods) > 1:
        field = "epochs" if isinstance(training, EpochTraining) else "steps"
        yield Problem(
            pointer=f"/training/{field}",
            detail=f"least_squares is there after one step but there would be {periods} periods",
            remedy="training: {epochs: 1}",
        )


def least_squares_with_more(case: Case) -> Iterator[Problem]:
    """It minimizes the plain squared error of the examples as they are."""
    if not _asked(case) or not isinstance(case.spec.model, Polynomial):
        return
    for place in ("regularization", "augmentation"):
        for index, one in enumerate(getattr(case.spec, place)):
            yield Problem(
                pointer=f"/{place}/{index}/kind",
                detail=f"least_squares minimizes the squared error alone: {one.kind} has no part in it",
                remedy=f"{_REMEDY}, or leave it out",
            )


def _asked(case: Case) -> bool:
    return isinstance(case.spec.optimizer, LeastSquares)


OPTIMIZER_CHECKS = (least_squares_elsewhere, least_squares_in_parts, least_squares_with_more)
