"""Checks and warnings of a spec about its optimizer: what least squares can do, and what the steps of Lion and Muon
don't depend on."""

from collections.abc import Iterator

from trainer.checks.context import CheckContext
from trainer.spec import (
    L1,
    L2,
    AdaptiveGradientClipping,
    ElasticNet,
    EpochTraining,
    GradientClipping,
    JobSpec,
    LeastSquares,
    Lion,
    Muon,
    Polynomial,
    Problem,
    WeightDecay,
)

_REMEDY = "optimizer: {kind: sgd}"


def check_least_squares_model(context: CheckContext) -> Iterator[Problem]:
    if _uses_least_squares(context) and not isinstance(context.spec.model, Polynomial):
        yield Problem(
            pointer="/optimizer/kind",
            detail=f"least_squares needs a model that is linear in its weights but {context.spec.model.name} is not",
            remedy=f"{_REMEDY}, or model: {{name: polynomial}}",
        )


def check_least_squares_single_step(context: CheckContext) -> Iterator[Problem]:
    """One batch of all examples, once."""
    if not _uses_least_squares(context) or not isinstance(context.spec.model, Polynomial):
        return
    training, train = context.spec.training, context.sizes.train
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
    elif (devices := context.spec.resources.devices) > 1:
        yield Problem(
            pointer="/resources/devices",
            detail=f"least_squares takes all examples at once but devices is {devices}",
            remedy="devices: 1",
        )
    elif (periods := context.spec.periods) > 1:
        field = "epochs" if isinstance(training, EpochTraining) else "steps"
        yield Problem(
            pointer=f"/training/{field}",
            detail=f"least_squares ends after one step but the training has {periods} periods",
            remedy="training: {epochs: 1}",
        )


def check_least_squares_alone(context: CheckContext) -> Iterator[Problem]:
    """It minimizes the plain squared error of the examples as they are."""
    if not _uses_least_squares(context) or not isinstance(context.spec.model, Polynomial):
        return
    for place in ("regularization", "augmentation"):
        for index, one in enumerate(getattr(context.spec, place)):
            yield Problem(
                pointer=f"/{place}/{index}/kind",
                detail=f"least_squares minimizes the squared error alone and cannot use {one.kind}",
                remedy=f"{_REMEDY}, or remove {one.kind}",
            )


def check_least_squares_float32(context: CheckContext) -> Iterator[Problem]:
    """It solves for what the last layer is given and gives."""
    if not _uses_least_squares(context) or not isinstance(context.spec.model, Polynomial):
        return
    training = context.spec.training
    if training.precision != "float32":
        yield Problem(
            pointer="/training/precision",
            detail=f"least_squares needs all digits of the targets but precision is {training.precision}",
            remedy=f"precision: float32, or {_REMEDY}",
        )
    if training.compile:
        yield Problem(
            pointer="/training/compile",
            detail="least_squares looks into the model while it runs, which a compiled model can't show",
            remedy=f"compile: false, or {_REMEDY}",
        )


def check_decay_is_decoupled(context: CheckContext) -> Iterator[Problem]:
    optimizer = context.spec.optimizer
    if not isinstance(optimizer, Lion | Muon):
        return
    for index, part in enumerate(context.spec.regularization):
        if isinstance(part, WeightDecay) and part.mode == "coupled":
            yield Problem(
                pointer=f"/regularization/{index}/mode",
                detail=f"coupled weight decay is added to the gradient, whose scale {optimizer.kind} takes out",
                remedy=f"mode: decoupled, which {optimizer.kind} has by itself",
            )


def check_muon_has_matrices(spec: JobSpec, matrices: int) -> Iterator[Problem]:
    """Called once the model is built: how many of its numbers are in matrices is known only then."""
    if isinstance(spec.optimizer, Muon) and matrices == 0:
        yield Problem(
            pointer="/optimizer/kind",
            detail=f"muon moves matrices of hidden layers but {spec.model.name} has none: adamw would move it all",
            remedy="optimizer: {kind: adamw}",
        )


def warn_penalty_without_scale(context: CheckContext) -> Iterator[str]:
    """The gradient of a penalty counts by its share of the whole gradient, which changes from step to step."""
    optimizer = context.spec.optimizer
    if not isinstance(optimizer, Lion | Muon):
        return
    how = "the sign" if isinstance(optimizer, Lion) else "an orthogonalized matrix"
    for part in context.spec.regularization:
        is_penalty = isinstance(part, L1 | L2 | ElasticNet) and part.value > 0
        if is_penalty and not (isinstance(part, L1) and part.proximal):
            yield (
                f"the gradient of {part.kind} is added to that of the loss, of which {optimizer.kind} takes "
                f"{how}: how far it shrinks weights does not follow its value; weight_decay is decoupled"
            )


def warn_clipping_without_effect(context: CheckContext) -> Iterator[str]:
    """Of a matrix, Muon takes out its scale as a whole, Lion that of every number."""
    optimizer = context.spec.optimizer
    clipping = context.spec.regularizer(GradientClipping)
    clipped = [f"gradient_clipping by {clipping.by}"] if clipping is not None else []
    if context.spec.regularizer(AdaptiveGradientClipping) is not None:
        clipped.append("adaptive_gradient_clipping")
    for name in clipped:
        if isinstance(optimizer, Lion) or (isinstance(optimizer, Muon) and name.endswith("norm")):
            yield (
                f"{name} limits gradients whose scale {optimizer.kind} takes out: it only changes how much a step "
                "counts in the momentum"
            )


def _uses_least_squares(context: CheckContext) -> bool:
    return isinstance(context.spec.optimizer, LeastSquares)


OPTIMIZER_CHECKS = (
    check_least_squares_model,
    check_least_squares_single_step,
    check_least_squares_alone,
    check_least_squares_float32,
    check_decay_is_decoupled,
)
OPTIMIZER_WARNINGS = (
    warn_penalty_without_scale,
    warn_clipping_without_effect,
)
