"""Checks and warnings of a spec about its regularizers: conflicts with each other and with the rest of
the spec. Dropout is in `dropout.py`."""

from collections.abc import Iterator
from math import exp

from trainer.checks.batches import count_total_steps
from trainer.checks.context import CheckContext
from trainer.checks.norms import SCALE_MATTERS
from trainer.spec import (
    L1,
    L2,
    AdaptiveGradientClipping,
    Classification,
    Cosine,
    Cutmix,
    ElasticNet,
    EmaWeights,
    JobSpec,
    LabelSmoothing,
    LocalResponseNorm,
    MaxNorm,
    Mixup,
    NoNorm,
    NoStopping,
    Problem,
    ProgressQuotient,
    Sgd,
    SwaWeights,
    WeightDecay,
    name_norm,
)
from trainer.surgery import shorten

_OF_LABELS = (LabelSmoothing, Mixup, Cutmix)
_ADDED_TO_COST = (LabelSmoothing, L1, L2, ElasticNet)
#: A branch whose gain stays below this is as good as not there.
_LEAST_GAIN = 0.1


def check_label_regularizers_have_classes(context: CheckContext) -> Iterator[Problem]:
    if isinstance(context.spec.task, Classification):
        return
    for index, one in enumerate(context.spec.regularization):
        if isinstance(one, _OF_LABELS):
            yield Problem(
                pointer=f"/regularization/{index}/kind",
                detail=f"{one.kind} needs class labels but the task is {context.spec.task.kind}",
                remedy=f"no {one.kind}, or task: {{kind: classification}}",
            )


def check_cutmix_has_images(context: CheckContext) -> Iterator[Problem]:
    for index, one in enumerate(context.spec.regularization):
        if isinstance(one, Cutmix) and context.info.content == "vectors":
            yield Problem(
                pointer=f"/regularization/{index}/kind",
                detail=f"cutmix pastes parts of images but {context.info.name} has vectors",
                remedy="mixup",
            )


def check_single_average(context: CheckContext) -> Iterator[Problem]:
    kinds = [one.kind for one in context.spec.regularization]
    if "ema" in kinds and "swa" in kinds:
        yield Problem(
            pointer=f"/regularization/{max(kinds.index('ema'), kinds.index('swa'))}/kind",
            detail="ema and swa are two averages of the weights, but one model is validated",
            remedy="one of them",
        )


def warn_subgradient_l1(context: CheckContext) -> Iterator[str]:
    l1, net = context.spec.regularizer(L1), context.spec.regularizer(ElasticNet)
    for kind, acts in (
        ("l1", l1 is not None and l1.value > 0 and not l1.proximal),
        ("elastic_net", net is not None and net.value * net.l1_ratio > 0),
    ):
        if acts:
            yield (
                f"{kind} is a penalty whose subgradient {context.spec.optimizer.kind} follows: weights "
                "become small but none exactly zero; l1 with proximal: true makes zeros"
            )


def warn_proximal_l1_without_sgd(context: CheckContext) -> Iterator[str]:
    l1, optimizer = context.spec.regularizer(L1), context.spec.optimizer
    if l1 is not None and l1.proximal and l1.value > 0 and not isinstance(optimizer, Sgd):
        yield (
            "a proximal l1 shrinks by lr times its value, which fits the steps of sgd: "
            f"{optimizer.kind} scales each weight's step by itself"
        )


def warn_averaged_zeros(context: CheckContext) -> Iterator[str]:
    l1, averages = context.spec.regularizer(L1), (EmaWeights, SwaWeights)
    kinds = [one.kind for one in context.spec.regularization if isinstance(one, averages)]
    if kinds and l1 is not None and l1.proximal and l1.value > 0:
        yield (
            f"{kinds[0]} averages over times at which a weight was not zero: few of the zeros of a "
            "proximal l1 remain in what is validated and kept"
        )


def warn_doubled_decay(context: CheckContext) -> Iterator[str]:
    kinds = L2 | WeightDecay | ElasticNet
    parts = [one for one in context.spec.regularization if isinstance(one, kinds)]
    acting = [one.kind for one in parts if one.value > 0]
    if len(acting) > 1:
        verb = "both" if len(acting) == 2 else "all"
        yield f"{' and '.join(acting)} {verb} shrink the same weights; their effects add up"


def warn_mismatched_decay(context: CheckContext) -> Iterator[str]:
    decay, optimizer = context.spec.regularizer(WeightDecay), context.spec.optimizer.kind
    l2 = context.spec.regularizer(L2)
    if decay is not None and decay.mode == "coupled" and optimizer == "adamw":
        yield "adamw with coupled weight decay is adam"
    if decay is not None and decay.mode == "decoupled" and optimizer == "adam":
        yield "adam with decoupled weight decay is adamw"
    for name, acts in (
        ("l2", l2 is not None and l2.value > 0 and optimizer in ("adam", "adamw")),
        ("weight_decay", _is_coupled(decay) and optimizer == "adam"),
    ):
        if acts:
            yield (
                f"{name} goes through {optimizer}'s scaling by second moments: it is not the decoupled "
                "decay of adamw (Loshchilov & Hutter 2019)"
            )


def _is_coupled(decay: WeightDecay | None) -> bool:
    return decay is not None and decay.value > 0 and decay.mode != "decoupled"


def warn_ineffective_scale_penalty(context: CheckContext) -> Iterator[str]:
    """What bounds the scale of weights, where the function does not depend on it."""
    if context.spec.weights.kind == "plain":
        yield from _warn_scale_before_norm(context)
    else:
        yield from _warn_scale_of_computed_weights(context.spec)


def _warn_scale_before_norm(context: CheckContext) -> Iterator[str]:
    """Only of layers that feed a norm and nothing else."""
    fed = [site.producer for site in context.sites if site.producer is not None]
    if isinstance(context.spec.norm, SCALE_MATTERS) or not fed:
        return
    taken = f"weights whose scale {name_norm(context.spec.norm)} takes out again ({shorten(fed)})"
    if context.spec.regularizer(MaxNorm) is not None:
        yield f"max_norm bounds {taken}: it changes the effective learning rate only"
    for part in context.spec.regularization:
        if isinstance(part, WeightDecay | L2) and part.value > 0:
            yield (
                f"{part.kind} shrinks {taken}: there it sets the effective learning rate, not the "
                "capacity (van Laarhoven 2017)"
            )


def _warn_scale_of_computed_weights(spec: JobSpec) -> Iterator[str]:
    decay, kind = spec.regularizer(WeightDecay), spec.weights.kind
    if spec.regularizer(MaxNorm) is not None:
        yield (
            f"max_norm bounds weights whose scale {kind} takes out again: it changes the effective "
            "learning rate only"
        )
    if decay is not None and decay.value > 0 and kind == "weight_norm":
        yield "weight decay acts on the v of weight_norm, whose length is free: g is what would shrink"


def warn_decayed_gains(context: CheckContext) -> Iterator[str]:
    decay, norm = context.spec.regularizer(WeightDecay), context.spec.norm
    has_gains = context.sites and not isinstance(norm, NoNorm | LocalResponseNorm)
    if decay is None or decay.value == 0 or not has_gains:
        return
    if decay.parameters in ("weights_and_norms", "all"):
        yield (
            f"weight_decay of {decay.parameters} shrinks the gains of {name_norm(norm)}, too: Wu & He "
            "2018 did so on ImageNet and left them out in fine-tuning"
        )


def warn_labels_softened_twice(context: CheckContext) -> Iterator[str]:
    mixing = [one.kind for one in context.spec.regularization if isinstance(one, Mixup | Cutmix)]
    smoothing = context.spec.regularizer(LabelSmoothing)
    if mixing and smoothing is not None and smoothing.value > 0:
        yield f"{' and '.join(mixing)} and label_smoothing both soften the labels"


def warn_monitor_of_mixed_examples(context: CheckContext) -> Iterator[str]:
    mixing = [one.kind for one in context.spec.regularization if isinstance(one, Mixup | Cutmix)]
    stopping = context.spec.early_stopping
    if mixing and stopping.monitor.startswith("train_"):
        yield f"with {mixing[0]}, {stopping.monitor} is that of mixed examples: monitor validation"
    if mixing and isinstance(stopping, ProgressQuotient):
        yield (
            f"with {mixing[0]}, the training progress of progress_quotient is that of mixed examples, "
            "which chance makes harder or easier: it stops late; generalization_loss sees validation alone"
        )


def warn_monitored_cost(context: CheckContext) -> Iterator[str]:
    """`train_cost` is what is minimized, so its size is a matter of what was added to the loss."""
    parts = context.spec.regularization
    added = [one for one in parts if isinstance(one, _ADDED_TO_COST) and one.value > 0]
    terms = [one.kind for one in added if not (isinstance(one, L1) and one.proximal)]
    if terms and context.spec.early_stopping.monitor == "train_cost":
        yield (
            f"train_cost holds {' and '.join(terms)}: it can't be compared with that of a variant "
            "without; monitor val_loss, which is of the plain loss"
        )


def warn_slow_average(context: CheckContext) -> Iterator[str]:
    ema, steps = context.spec.regularizer(EmaWeights), count_total_steps(context)
    if ema is not None and 1 / (1 - ema.decay) > steps / 2:
        yield (
            f"an ema of decay {ema.decay:g} looks back about {1 / (1 - ema.decay):.0f} steps but the "
            f"training has {steps}: the average stays near the start"
        )


def warn_shut_branches(context: CheckContext) -> Iterator[str]:
    """A step moves a gain g by `lr value max(|g|, eps)` at most: from zero it climbs to eps, and from there it grows by
    a factor. Adaptive optimizers take the scale of gradients out again."""
    clipping, optimizer = context.spec.regularizer(AdaptiveGradientClipping), context.spec.optimizer
    gains = context.shut_gains
    if clipping is None or not isinstance(optimizer, Sgd) or not gains:
        return
    steps, rate = count_total_steps(context), context.spec.peak_learning_rate
    climbed = steps * rate / (1 - optimizer.momentum) * clipping.value
    # Before the exponential function overflows, it is far beyond what matters.
    reach = clipping.eps * (climbed if climbed < 1 else exp(min(climbed - 1, 100)))
    if reach < _LEAST_GAIN:
        yield (
            f"with adaptive_gradient_clipping of {clipping.value:g} a gain that begins at zero comes to {reach:.1g} at "
            f"most in {steps} steps at a rate of {rate:g} and momentum {optimizer.momentum:g}, so what "
            f"{shorten(gains)} scale hardly takes part: more steps, a higher rate, or a larger value or eps"
        )


def warn_average_of_few_points(context: CheckContext) -> Iterator[str]:
    spec, swa = context.spec, context.spec.regularizer(SwaWeights)
    if swa is None:
        return
    if (left := spec.periods - int(swa.start * spec.periods)) < 2:
        yield f"swa starts at {swa.start:g} of {spec.periods} periods: it averages {left} point"
    if isinstance(spec.schedule, Cosine) and spec.schedule.final_fraction < 0.1:
        yield "swa after a cosine that ends near zero averages nearly equal points: use a constant rate"
    if not isinstance(spec.early_stopping, NoStopping):
        yield f"{spec.early_stopping.kind} may end the training before swa begins to average"


REGULARIZER_CHECKS = (
    check_label_regularizers_have_classes,
    check_cutmix_has_images,
    check_single_average,
)
REGULARIZER_WARNINGS = (
    warn_subgradient_l1,
    warn_proximal_l1_without_sgd,
    warn_averaged_zeros,
    warn_doubled_decay,
    warn_mismatched_decay,
    warn_ineffective_scale_penalty,
    warn_labels_softened_twice,
    warn_monitor_of_mixed_examples,
    warn_slow_average,
    warn_shut_branches,
    warn_average_of_few_points,
    warn_decayed_gains,
    warn_monitored_cost,
)
