"""Regularizers: of the loss, the weights, the gradients, the activations, the labels."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from trainer.spec.part import Fraction, NotNegative, Part, Positive


class WeightDecay(Part):
    """Shrinks parameters at every step: coupled adds `value * w` to the gradient, decoupled subtracts
    `lr * value * w` (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    kind: Literal["weight_decay"]
    value: NotNegative
    mode: Annotated[
        Literal["coupled", "decoupled"] | None,
        Field(description="none: coupled in sgd and adam, decoupled in adamw, lion and muon"),
    ] = None
    parameters: Annotated[
        Literal["weights", "weights_and_biases", "weights_and_norms", "all"],
        Field(description="weights: those of norms and all biases excluded"),
    ] = "weights"
    pitfalls: ClassVar[tuple[str, ...]] = (
        "before a norm it sets the effective learning rate, not the capacity (van Laarhoven 2017)",
        "coupled decay through Adam is not AdamW's; lion and muon have decoupled decay alone",
    )


class L1(Part):
    """Adds `value * Σ|w|` over the weights (no norm or bias parameters) to the loss; `proximal` takes
    the step without it, then soft-thresholds by `value * lr / (1 - momentum)`: exact zeros (Parikh & Boyd
    2014, §4.2)."""

    kind: Literal["l1"]
    value: NotNegative
    proximal: bool = False
    pitfalls: ClassVar[tuple[str, ...]] = (
        "a subgradient gives small weights and no exact zeros; proximal gives them",
        "ema and swa average over times at which a weight was not zero: few of the zeros remain",
    )


class L2(Part):
    """Adds `value / 2 * Σw²` over the weights (no norm or bias parameters) to the loss."""

    kind: Literal["l2"]
    value: NotNegative
    pitfalls: ClassVar[tuple[str, ...]] = (
        "with SGD the same trajectory as coupled weight decay, unless gradients are clipped: a penalty's "
        "are clipped with them; with Adam not AdamW's",
        "before a norm it sets the effective learning rate, not the capacity (van Laarhoven 2017)",
    )


class ElasticNet(Part):
    """Adds `value * (l1_ratio * Σ|w| + (1 - l1_ratio) / 2 * Σw²)` over the weights to the loss (Zou &
    Hastie 2005)."""

    kind: Literal["elastic_net"]
    value: NotNegative
    l1_ratio: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "its l1 part is followed by a subgradient: no exact zeros",
    )


class MaxNorm(Part):
    """After each step, the incoming weights of every unit are scaled down to a norm of at most `value`
    (Srivastava et al. 2014, §5.1)."""

    kind: Literal["max_norm"]
    value: Positive = 3.0
    pitfalls: ClassVar[tuple[str, ...]] = (
        "before a norm the scale of weights has no effect on the function",
    )


class Dropout(Part):
    """Inverted dropout (Srivastava et al. 2014); p is the share *dropped*, as in torch."""

    kind: Literal["dropout"]
    p: Fraction
    input_p: Annotated[Fraction, Field(description="of the network's input")] = 0.0
    where: Annotated[
        Literal["hidden", "head"],
        Field(
            description="hidden: after every hidden activation (in library models: their own dropout "
            "layers); head: before the last linear layer"
        ),
    ] = "hidden"
    pitfalls: ClassVar[tuple[str, ...]] = (
        "p is the share dropped; the paper's p is the share kept",
        "before batch norm it shifts the variance between training and evaluation (Li et al. 2019)",
    )


class SpatialDropout(Part):
    """Drops whole channels of a map, after every hidden activation (Tompson et al. 2015)."""

    kind: Literal["spatial_dropout"]
    p: Fraction
    pitfalls: ClassVar[tuple[str, ...]] = (
        "needs maps: on vectors it would be plain dropout, so it is refused",
    )


class DropConnect(Part):
    """Drops weights of hidden linear and convolution layers instead of activations, one mask a batch
    (Wan et al. 2013)."""

    kind: Literal["drop_connect"]
    p: Fraction
    pitfalls: ClassVar[tuple[str, ...]] = (
        "what some libraries call drop_connect is stochastic depth",
        "evaluates with the mean weights; the paper samples from a Gaussian",
    )


class DropBlock(Part):
    """Drops square blocks of a map after every hidden activation (Ghiasi et al. 2018, arXiv
    1810.12890)."""

    kind: Literal["drop_block"]
    p: Fraction
    block_size: Annotated[int, Field(strict=True, ge=1, le=99, description="pixels")] = 7
    channels: Annotated[
        Literal["each", "all"],
        Field(
            description="who shares a mask; the paper: each channel has its own, which works better"
        ),
    ] = "each"
    ramp: Annotated[
        bool, Field(description="p grows linearly from 0 over the training, as in the paper")
    ] = False
    pitfalls: ClassVar[tuple[str, ...]] = (
        "a block larger than a map drops the whole map",
        "without ramp it drops its full share from the first step on, unlike in the paper",
        "libraries differ in who shares a mask: torchvision's channels do not, timm's do",
    )


class StochasticDepth(Part):
    """Skips residual branches; the probability grows linearly with depth up to p (Huang et al. 2016,
    arXiv 1603.09382)."""

    kind: Literal["stochastic_depth"]
    p: Fraction
    per: Annotated[
        Literal["sample", "batch"], Field(description="who shares a draw; the paper: batch")
    ] = "sample"
    pitfalls: ClassVar[tuple[str, ...]] = ("needs residual blocks",)


class LabelSmoothing(Part):
    """Trains towards `1 - value` for the label and `value / K` for every class (Szegedy et al. 2016).
    Reported losses are unsmoothed; `train_cost` is what is minimized."""

    kind: Literal["label_smoothing"]
    value: Fraction = 0.1
    pitfalls: ClassVar[tuple[str, ...]] = (
        "`train_cost` is smoothed: compare variants by losses, which are not",
    )


class Mixup(Part):
    """Trains on `λ a + (1 - λ) b` of two images and their labels, λ from Beta(alpha, alpha), one a
    batch (Zhang et al. 2018, arXiv 1710.09412)."""

    kind: Literal["mixup"]
    alpha: Positive = 1.0
    pitfalls: ClassVar[tuple[str, ...]] = (
        "the training loss and accuracy are those of mixed examples: compare on a `train` evaluation",
    )


class Cutmix(Part):
    """Pastes a rectangle of one image into another and mixes the labels by area (Yun et al. 2019, arXiv
    1905.04899)."""

    kind: Literal["cutmix"]
    alpha: Positive = 1.0
    pitfalls: ClassVar[tuple[str, ...]] = (
        "the training loss and accuracy are those of mixed examples: compare on a `train` evaluation",
        "with mixup beside it, each batch gets one of the two, drawn evenly",
    )


class GradientClipping(Part):
    """Limits the gradient before the step: its norm over all parameters, or each value (Pascanu et al.
    2013)."""

    kind: Literal["gradient_clipping"]
    by: Literal["norm", "value"] = "norm"
    value: Positive = 1.0
    pitfalls: ClassVar[tuple[str, ...]] = (
        "what l1, l2 and elastic_net add to the gradient is clipped with it; weight decay is not",
    )


class AdaptiveGradientClipping(Part):
    """Limits the gradient of each output's weights to `value` times their own norm, in all layers but the last
    (Brock et al. 2021, arXiv 2102.06171)."""

    kind: Literal["adaptive_gradient_clipping"]
    value: Annotated[Positive, Field(description="λ: 0.01 for batches of 4096 in the paper")] = 0.01
    eps: Annotated[
        Positive, Field(description="least norm of weights, so that those that begin at zero move")
    ] = 1e-3
    pitfalls: ClassVar[tuple[str, ...]] = (
        "the larger the batch, the smaller the value that is needed for stability",
        "a bias, or a gain, counts as one vector (in timm's norm-free models each number of a gain by itself); one that "
        "begins at zero moves by little: with sgd, the last gain of a residual branch needs about "
        "6 (1 - momentum) / (lr value) steps to reach 0.1",
        "with gradient_clipping beside it, that one follows",
    )


class GradientNoise(Part):
    """Adds N(0, eta / (1 + t)^gamma) to the gradient of step t (Neelakantan et al. 2015, arXiv
    1511.06807)."""

    kind: Literal["gradient_noise"]
    eta: Positive = 0.01
    gamma: NotNegative = 0.55
    pitfalls: ClassVar[tuple[str, ...]] = (
        "eta is a variance: the noise of the first step has a deviation of its square root",
    )


class SharpnessAware(Part):
    """Takes the gradient of each step where the loss is highest nearby: at a distance of `rho` from the
    weights, along their own gradient (Foret et al. 2021, arXiv 2010.01412)."""

    kind: Literal["sam"]
    rho: Annotated[Positive, Field(description="length of the move, over all parameters")] = 0.05
    pitfalls: ClassVar[tuple[str, ...]] = (
        "two forward and backward passes a step: about twice the time",
        "rho is a length, but before a norm weights may have any scale without changing the function",
        "the gradients of l1, l2 and elastic_net, and weight decay, are those of the weights themselves, as in the "
        "paper's objective; its authors' code moves them, too",
        "on several devices each step moves along the gradient of the whole batch; the paper's moves along each "
        "device's own",
    )


class EmaWeights(Part):
    """An exponential moving average of the weights (Polyak & Juditsky 1992) is what is validated, kept
    and evaluated; batch statistics are estimated anew on the training split each time."""

    kind: Literal["ema"]
    decay: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.999
    pitfalls: ClassVar[tuple[str, ...]] = (
        "a decay of 0.999 looks back a thousand steps: too far for a training of a hundred",
        "with batch statistics every evaluation costs one more pass over the training split",
    )


class SwaWeights(Part):
    """From a share of the training on, the average of the weights after each evaluation period is what
    is validated, kept and evaluated; batch statistics estimated anew (Izmailov et al. 2018, arXiv
    1803.05407)."""

    kind: Literal["swa"]
    start: Annotated[Fraction, Field(description="of the evaluation periods")] = 0.75
    pitfalls: ClassVar[tuple[str, ...]] = (
        "wants a high constant learning rate at the end: a cosine that ends at zero averages one point",
        "early stopping may end the training before the averaging begins",
    )


RegularizerSpec: TypeAlias = Annotated[
    WeightDecay
    | L1
    | L2
    | ElasticNet
    | MaxNorm
    | Dropout
    | SpatialDropout
    | DropConnect
    | DropBlock
    | StochasticDepth
    | LabelSmoothing
    | Mixup
    | Cutmix
    | GradientClipping
    | AdaptiveGradientClipping
    | GradientNoise
    | SharpnessAware
    | EmaWeights
    | SwaWeights,
    Field(discriminator="kind"),
]
