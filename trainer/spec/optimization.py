"""Optimizers, schedules, the length of training and when it stops early."""

import operator
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from trainer.spec.part import Count, Fraction, Metric, NotNegative, Part, Positive, Whole

Precision: TypeAlias = Literal["float32", "bf16"]


class _WithRate(Part):
    lr_batch_size: Annotated[
        Count | None,
        Field(
            description="lr is for batches of this size, and follows the batch size in proportion "
            "(Goyal et al. 2017, arXiv 1706.02677); none: lr is as it is"
        ),
    ] = None


class Sgd(_WithRate):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    lr: Positive = 0.05
    momentum: Fraction = 0.9
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        return self


class Adam(_WithRate):
    """Adam (Kingma & Ba 2015)."""

    kind: Literal["adam"]
    lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8
    pitfalls: ClassVar[tuple[str, ...]] = (
        "weight decay through it is scaled by its second moments: see adamw",
    )


class AdamW(_WithRate):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"]
    lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8


class Lion(_WithRate):
    """The sign of a moving average of gradients, with decoupled weight decay (Chen et al. 2023, arXiv
    2302.06675)."""

    kind: Literal["lion"]
    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    pitfalls: ClassVar[tuple[str, ...]] = (
        "every parameter moves by lr at every step: the paper takes a third to a tenth of AdamW's rate, and as "
        "many times its decay",
        "what scales a gradient, such as clipping, hardly changes its steps",
    )


class Muon(_WithRate):
    """Momentum that is orthogonalized by five Newton-Schulz iterations, for the weight matrices of hidden
    layers, with decoupled weight decay (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982). A convolution
    is a matrix of its outputs by all else. AdamW for the rest: biases, norms, embeddings, the last layer, and
    convolutions of a single channel."""

    kind: Literal["muon"]
    lr: Positive = 0.02
    momentum: Fraction = 0.95
    nesterov: bool = True
    scale: Annotated[
        Literal["original", "match_rms_adamw"],
        Field(
            description="of a step of outputs × inputs numbers. original: sqrt(max(1, outputs / inputs)); "
            "match_rms_adamw: 0.2 sqrt(max(outputs, inputs)), so that AdamW's lr and decay fit (Liu et al. 2025)"
        ),
    ] = "original"
    adamw_lr: Annotated[
        Positive, Field(description="of the rest; follows the schedule as lr does")
    ] = 3e-4
    adamw_betas: Annotated[
        tuple[Fraction, Fraction], Field(description="of the rest; its eps is 1e-8")
    ] = (0.9, 0.95)
    pitfalls: ClassVar[tuple[str, ...]] = (
        "the scale of a gradient is lost: an l2 penalty shrinks by no fixed share, weight decay does",
        "iterates in bfloat16, whose rounding differs more between kinds of processors than that of float32",
        "the learning rate that is reported is that of the matrices",
    )


class LeastSquares(Part):
    """The minimizer of the mean squared error over the training split, in one step: for a polynomial,
    which is linear in its coefficients (Legendre 1805)."""

    kind: Literal["least_squares"]
    pitfalls: ClassVar[tuple[str, ...]] = (
        "takes all training examples in one batch and one epoch; what happens on the way to the minimum, "
        "as early stopping needs it, can't be seen",
    )


OptimizerSpec: TypeAlias = Annotated[
    Sgd | Adam | AdamW | Lion | Muon | LeastSquares, Field(discriminator="kind")
]


class Constant(Part):
    """The learning rate stays, after an optional linear warm-up."""

    kind: Literal["constant"]
    warmup_epochs: NotNegative = 0.0


class Step(Part):
    """Times `factor` at each milestone, counted in evaluation periods (epochs, or eval_every steps)."""

    kind: Literal["step"]
    milestones: Annotated[tuple[Count, ...], Field(min_length=1)]
    factor: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.1
    warmup_epochs: NotNegative = 0.0

    @field_validator("milestones")
    @classmethod
    def _increasing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"milestones must increase but got {list(value)}")
        return value


class Cosine(Part):
    """Half a cosine from the peak to `final_fraction` of it (Loshchilov & Hutter 2017)."""

    kind: Literal["cosine"]
    warmup_epochs: NotNegative = 0.0
    final_fraction: Fraction = 0.0


ScheduleSpec: TypeAlias = Annotated[Constant | Step | Cosine, Field(discriminator="kind")]


class _Training(Part):
    batch_size: Count = 64
    accumulate: Annotated[
        Count,
        Field(le=4096, description="micro-batches that a batch is taken in, one step for all"),
    ] = 1
    drop_last: Annotated[bool, Field(description="leave out an incomplete last batch")] = False
    # Left out of documents at their defaults, as in the documents from before they were there: those keep their
    # content hashes.
    precision: Annotated[
        Precision,
        Field(
            exclude_if="float32".__eq__,
            description="bf16: convolutions and matrix products in bfloat16; parameters, norms and losses "
            "stay in float32",
        ),
    ] = "float32"
    compile: Annotated[
        bool,
        Field(
            exclude_if=operator.not_,
            description="by torch.compile, from whose kernels results differ in their last digits; every "
            "attempt begins with it, and a CPU needs a C++ compiler",
        ),
    ] = False
    checkpoint_seconds: Annotated[
        Positive, Field(description="between checkpoints: about what a crash may cost; seconds")
    ] = 30.0

    @model_validator(mode="after")
    def _accumulates_evenly(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must divide batch_size but got {self.accumulate} and {self.batch_size}"
            )
        return self


class EpochTraining(_Training):
    """So many passes over the training split, evaluated after each."""

    epochs: Annotated[Count, Field(le=100_000)] = 15


class StepTraining(_Training):
    """So many optimizer steps, evaluated every `eval_every` steps."""

    steps: Count
    eval_every: Count

    @model_validator(mode="after")
    def _evaluated_at_least_once(self) -> Self:
        if self.eval_every > self.steps:
            raise ValueError(f"eval_every cannot exceed steps: {self.eval_every} > {self.steps}")
        return self


def _training_tag(value: Any) -> str:
    # No field is called like a tag, so a location in an error stays unambiguous.
    if isinstance(value, dict):
        return "by steps" if "steps" in value or "eval_every" in value else "by epochs"
    return "by steps" if isinstance(value, StepTraining) else "by epochs"


TrainingSpec: TypeAlias = Annotated[
    Annotated[EpochTraining, Tag("by epochs")] | Annotated[StepTraining, Tag("by steps")],
    Discriminator(_training_tag),
]


class NoStopping(Part):
    """Trains to the end; the best checkpoint is still kept by the monitored metric."""

    kind: Literal["none"]
    monitor: Metric = "val_loss"


class Patience(Part):
    """Stops after `patience` evaluations without a new best by more than `min_delta`."""

    kind: Literal["patience"]
    monitor: Metric = "val_loss"
    patience: Whole = 5
    min_delta: NotNegative = 0.0
    pitfalls: ClassVar[tuple[str, ...]] = (
        "counts evaluations without a new best, not successive increases",
    )


class GeneralizationLoss(Part):
    """GL: stops once the validation loss is more than `alpha` percent above its minimum so far (Prechelt
    1998)."""

    kind: Literal["generalization_loss"]
    monitor: Literal["val_loss"] = "val_loss"
    alpha: Positive = 5.0
    pitfalls: ClassVar[tuple[str, ...]] = (
        "has no patience: one bad evaluation above the limit is enough",
    )


class ProgressQuotient(Part):
    """PQ: stops at the end of a strip when the generalization loss exceeds `alpha` times the training
    progress, 1000 · (mean / minimum - 1) of the training loss over the strip (Prechelt 1998)."""

    kind: Literal["progress_quotient"]
    monitor: Literal["val_loss"] = "val_loss"
    alpha: Positive = 1.0
    strip: Annotated[Count, Field(ge=2, description="evaluation periods")] = 5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "a training loss that goes up and down counts as progress: it stops later",
    )


class SuccessiveIncreases(Part):
    """UP: stops when the validation loss at the end of a strip has exceeded that of the strip before
    `increases` times in a row (Prechelt 1998)."""

    kind: Literal["successive_increases"]
    monitor: Literal["val_loss"] = "val_loss"
    increases: Count = 3
    strip: Annotated[Count, Field(description="evaluation periods")] = 5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "counts successive increases between the ends of strips, not evaluations without a new best",
    )


StoppingSpec: TypeAlias = Annotated[
    NoStopping | Patience | GeneralizationLoss | ProgressQuotient | SuccessiveIncreases,
    Field(discriminator="kind"),
]
