"""Normalizations, and what acts on the weights beside them."""

import operator
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from trainer.spec.part import Count, FieldValueError, NotNegative, Part, Positive, Whole

Epsilon: TypeAlias = Annotated[float, Field(strict=True, gt=0, le=0.1)]
Momentum: TypeAlias = Annotated[
    float, Field(strict=True, gt=0, le=1, description="weight of the new batch's statistics")
]


def _is_none(value: object) -> bool:
    return value is None


class _Placed(Part):
    """What every norm of activations has."""

    placement: Annotated[
        Literal["before", "after"],
        Field(
            description="before the activation: where the model has its norms, or after each "
            "convolution of a model that has none; after: behind the activation that follows there"
        ),
    ] = "before"


class NoNorm(Part):
    """No normalization: the layer before gets a zero-initialised bias in its place."""

    kind: Literal["none"]
    pitfalls: ClassVar[tuple[str, ...]] = (
        "without norm a network wants a lower learning rate: tune it per variant, or the comparison "
        "is unfair to it",
    )


class BatchNorm(_Placed):
    """Statistics over N, H, W per channel (Ioffe & Szegedy 2015, arXiv 1502.03167)."""

    kind: Literal["batch"]
    eps: Epsilon = 1e-5
    momentum: Momentum = 0.1
    # Left out of documents at its default, as in the documents from before it was there.
    sync: Annotated[
        bool,
        Field(
            exclude_if=operator.not_,
            description="of a job on several devices: statistics of the whole batch; false: each device "
            "normalizes its part by itself, as in torch and in Wu & He 2018",
        ),
    ] = False
    frozen: Annotated[
        Literal["statistics", "all"] | None,
        Field(
            exclude_if=_is_none,
            description="of a training that begins from another job's weights (init_from): their running statistics "
            "normalize in training, too, and stay; all: gain and bias stay as well, as in detectors that are "
            "fine-tuned with few images a step",
        ),
    ] = None
    pitfalls: ClassVar[tuple[str, ...]] = (
        "normalizes by the biased variance, stores the unbiased one; momentum is the weight of the "
        "new batch (0.1 here is 0.9 elsewhere)",
        "degrades at small batches; two values per channel always become ±1",
        "dropout before it shifts the variance between training and evaluation (Li et al. 2019)",
        "micro-batches of an accumulated step are normalized each by itself",
        "on several devices each normalizes its part of the batch by itself unless sync is true",
        "frozen, it is a linear layer: statistics of other data than these are not corrected",
    )

    @model_validator(mode="after")
    def _frozen_by_itself(self) -> Self:
        if self.frozen is not None and self.sync:
            raise FieldValueError("frozen statistics are of no batch: leave out sync", "sync")
        return self


class LayerNorm(_Placed):
    """Statistics over C, H, W per sample, one gain and bias per channel (Ba et al. 2016, arXiv
    1607.06450); with `axes: channels` over C at each position (the form of Liu et al. 2022)."""

    kind: Literal["layer"]
    axes: Annotated[
        Literal["all", "channels"],
        Field(description="all: C, H, W; channels: C alone, at each position"),
    ] = "all"
    eps: Epsilon = 1e-5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "gain and bias are per channel (Wu & He 2018); Ba et al. have one per element of C×H×W",
        "tokens of a transformer are normalized one by one, whatever `axes` says",
    )


class InstanceNorm(_Placed):
    """Statistics over H, W per sample and channel, affine (Ulyanov et al. 2016, arXiv 1607.08022)."""

    kind: Literal["instance"]
    eps: Epsilon = 1e-5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "removes the contrast between channels: made for style transfer, worse in classification",
        "undefined on 1×1 maps and on vectors",
    )


class GroupNorm(_Placed):
    """Statistics over C/G, H, W per sample and group (Wu & He 2018, arXiv 1803.08494); give groups or
    channels_per_group."""

    kind: Literal["group"]
    groups: Count | None = None
    channels_per_group: Count | None = None
    eps: Epsilon = 1e-5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "groups must divide the channels of every norm layer",
        "one element per group is no error in torch: the output is the bias and amplified rounding noise, "
        "whatever the input",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.groups is None) == (self.channels_per_group is None):
            raise ValueError("give exactly one of groups and channels_per_group")
        return self


class LocalResponseNorm(_Placed):
    """`x / (k + alpha * Σ x²)^beta`, the sum over n adjacent channels or an n×n window of one channel,
    clipped at the borders and *not* divided by n (Krizhevsky et al. 2012, §3.3)."""

    kind: Literal["lrn"]
    across: Annotated[
        Literal["channels", "space"],
        Field(description="channels: inter-channel, AlexNet's; space: intra-channel"),
    ] = "channels"
    n: Annotated[int, Field(strict=True, ge=1, le=255, description="odd")] = 5
    k: Positive = 2.0
    alpha: NotNegative = 1e-4
    beta: Positive = 0.75
    pitfalls: ClassVar[tuple[str, ...]] = (
        "torch divides alpha by n, Caffe's within-channel form by n²; the paper and this do not",
        "AlexNet's numbers do nothing on activations of unit scale: the layer is a constant factor of "
        "2^-0.75; try an alpha of 0.1",
        "has no gain and no bias; AlexNet has it after the activation (`placement: after`)",
    )

    @field_validator("n")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"n must be odd, so that its window has a middle, but got {value}")
        return value


class RmsNorm(_Placed):
    """Root mean square over C at each position, no mean removed, a gain and no bias (Zhang & Sennrich
    2019, arXiv 1910.07467)."""

    kind: Literal["rms"]
    eps: Epsilon = 1e-5
    pitfalls: ClassVar[tuple[str, ...]] = ("removes no mean and has no bias",)


class GhostBatchNorm(_Placed):
    """Batch norm over virtual batches, one gain and bias for all (Hoffer et al. 2017, arXiv
    1705.08741)."""

    kind: Literal["ghost_batch"]
    virtual_batch_size: Annotated[Count, Field(ge=2)] = 32
    eps: Epsilon = 1e-5
    momentum: Momentum = 0.1
    pitfalls: ClassVar[tuple[str, ...]] = (
        "the last virtual batch of a batch may be smaller; running statistics move once per virtual "
        "batch",
    )


class BatchRenorm(_Placed):
    """Batch norm corrected towards the running statistics by clipped r and d, through which no gradient
    flows (Ioffe 2017, arXiv 1702.03275)."""

    kind: Literal["batch_renorm"]
    r_max: Annotated[float, Field(strict=True, ge=1, le=100)] = 3.0
    d_max: Annotated[float, Field(strict=True, ge=0, le=100)] = 5.0
    plain_steps: Annotated[Whole, Field(description="steps as batch norm, r = 1 and d = 0")] = 0
    ramp_steps: Annotated[
        Whole, Field(description="then so many in which both limits grow linearly to the full")
    ] = 0
    eps: Epsilon = 1e-5
    momentum: Momentum = 0.01
    pitfalls: ClassVar[tuple[str, ...]] = (
        "scale plain_steps and ramp_steps to the run: the paper's 5,000 and 25,000 to 40,000 exceed "
        "many a whole training",
    )


class FilterResponseNorm(_Placed):
    """`x / sqrt(mean(x²) + eps)` over H, W per sample and channel, then gain, bias and the thresholded
    linear unit max(y, τ) in the place of the activation (Singh & Krishnan 2020, arXiv 1911.09737)."""

    kind: Literal["filter_response"]
    tlu: Annotated[
        bool, Field(description="thresholded linear unit; false: the model's own activation")
    ] = True
    eps: Epsilon = 1e-6
    pitfalls: ClassVar[tuple[str, ...]] = (
        "needs its thresholded linear unit: the mean is not removed",
        "useless on 1×1 maps, where the output is a sign",
    )


class EvoNorm(_Placed):
    """Norm and activation in one, found by search: B0 with batch statistics, S0 with those of sample
    and group (Liu et al. 2020, arXiv 2004.02967). Takes the activation's place."""

    kind: Literal["evonorm"]
    form: Literal["B0", "S0"] = "S0"
    groups: Annotated[Count, Field(description="S0 only")] = 8
    eps: Epsilon = 1e-5
    momentum: Momentum = 0.1
    pitfalls: ClassVar[tuple[str, ...]] = (
        "replaces the activation too: an activation kept after it is another function",
    )


class DynamicTanh(_Placed):
    """`gain * tanh(alpha * x) + bias`, alpha learned: no statistics at all (Zhu et al. 2025, arXiv
    2503.10622)."""

    kind: Literal["dynamic_tanh"]
    alpha: Annotated[Positive, Field(description="at the start")] = 0.5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "made for transformers; convolutional networks lose accuracy with it",
    )


class Derf(_Placed):
    """`gain * erf(alpha * x + s) + bias`, alpha and s learned: dynamic tanh with another curve, and free to be
    off-centre (Chen et al. 2025, arXiv 2512.10938)."""

    kind: Literal["derf"]
    alpha: Annotated[Positive, Field(description="at the start")] = 0.5
    shift: Annotated[float, Field(description="s at the start")] = 0.0
    pitfalls: ClassVar[tuple[str, ...]] = (
        "made for transformers, where its paper compares it with layer norm; convolutional networks are not "
        "among its results",
    )


NormSpec: TypeAlias = Annotated[
    NoNorm
    | BatchNorm
    | LayerNorm
    | InstanceNorm
    | GroupNorm
    | LocalResponseNorm
    | RmsNorm
    | GhostBatchNorm
    | BatchRenorm
    | FilterResponseNorm
    | EvoNorm
    | DynamicTanh
    | Derf,
    Field(discriminator="kind"),
]


class PlainWeights(Part):
    """Weights as the layer has them."""

    kind: Literal["plain"]


class StandardizedWeights(Part):
    """Each output's weights of a convolution to zero mean and unit variance (Qiao et al. 2019, arXiv
    1903.10520)."""

    kind: Literal["standardization"]
    eps: Epsilon = 1e-5
    pitfalls: ClassVar[tuple[str, ...]] = (
        "meant beside group norm, on convolutions; linear layers stay as they are",
    )


class ScaledStandardizedWeights(Part):
    """Each output's weights of a convolution to zero mean and a variance of 1 / fan-in, times the gain of the
    activation and a trained gain, so that activations keep their variance without a norm (Brock et al. 2021,
    arXiv 2101.08692)."""

    kind: Literal["scaled_standardization"]
    gamma: Annotated[
        Positive | None,
        Field(
            description="gain of the activation, 1 / (deviation of it over a standard normal): 1.714 of relu; none: "
            "that of the model's own activation, which of a library's model is not known"
        ),
    ] = None
    eps: Epsilon = 1e-6
    pitfalls: ClassVar[tuple[str, ...]] = (
        "meant for no norm, with adaptive_gradient_clipping (arXiv 2102.06171) and, in residual networks, a scaled "
        "branch: resnet20 has skip_init",
        "on convolutions; linear layers stay as they are",
    )


class WeightNorm(Part):
    """`w = g v / |v|` for each output of convolutions and linear layers (Salimans & Kingma 2016, arXiv
    1602.07868)."""

    kind: Literal["weight_norm"]
    pitfalls: ClassVar[tuple[str, ...]] = (
        "28.2 % where batch norm has 23.6 % in Wu & He 2018 (ResNet-50, ImageNet)",
        "decay acts on v, which is scale-free, and spares g",
    )


class SpectralNorm(Part):
    """Weights of convolutions and linear layers divided by their largest singular value, estimated by
    power iteration (Miyato et al. 2018, arXiv 1802.05957)."""

    kind: Literal["spectral"]
    power_iterations: Annotated[
        Count, Field(le=100, description="each time a layer runs in training")
    ] = 1
    pitfalls: ClassVar[tuple[str, ...]] = (
        "its vectors move in training only; made for the critics of GANs",
    )


WeightsSpec: TypeAlias = Annotated[
    PlainWeights | StandardizedWeights | ScaledStandardizedWeights | WeightNorm | SpectralNorm,
    Field(discriminator="kind"),
]
