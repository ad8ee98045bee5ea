"""Checks and warnings of a spec about every norm layer of its model."""

from collections.abc import Iterator
from math import gcd
from typing import TypeGuard

from trainer.checks.context import CheckContext
from trainer.spec import (
    BatchNorm,
    Derf,
    DynamicTanh,
    EvoNorm,
    FilterResponseNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    NormSpec,
    Problem,
    RmsNorm,
    Sgd,
    name_norm,
)
from trainer.surgery import NormSite, explain_misfit, group_field, uses_batch_statistics

#: Norms whose output depends on the scale of what they are given.
SCALE_MATTERS = (NoNorm, LocalResponseNorm, DynamicTanh, Derf)

#: Of lr / (1 - momentum). A small CNN without norm trained at 0.5 with each of five seeds; at 3 three of
#: them broke down, at 10 all.
_MOST_WITHOUT_NORM = 2


def check_norms_replaceable(context: CheckContext) -> Iterator[Problem]:
    for obstacle in context.survey.obstacles if context.survey else ():
        yield Problem(
            pointer="/model/name",
            layer=obstacle.layer or None,
            detail=f"{obstacle.detail}, which cannot be replaced",
            remedy="another model",
        )


def check_norm_sites_exist(context: CheckContext) -> Iterator[Problem]:
    survey, norm = context.survey, context.spec.norm
    if survey is None or context.sites or survey.obstacles or isinstance(norm, NoNorm):
        return
    yield Problem(
        pointer="/norm/kind",
        detail=f"the model has neither norm layers nor convolutions before its outputs, so {norm.kind} norm "
        "has no place",
        remedy="norm: {kind: none}, or a model with norm layers or convolutions",
    )


def check_norm_fits_sites(context: CheckContext) -> Iterator[Problem]:
    """Layouts and windows on which not every norm means something, and places that it can't have."""
    for site in context.sites:
        if (error := explain_misfit(context.spec.norm, site)) is not None:
            yield Problem(
                pointer=error.pointer, layer=site.name, detail=str(error), remedy=error.remedy
            )


def check_groups_divide_channels(context: CheckContext) -> Iterator[Problem]:
    norm = context.spec.norm
    if not _has_groups(norm):
        return
    given, field = _given_groups(norm), group_field(norm)
    # The divisors of the greatest common divisor are the numbers that fit all layers: of 16, 24 and
    # 32 channels 1, 2, 4 and 8.
    common = gcd(*(site.channels for site in context.sites))
    fitting = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
    for site in context.sites:
        if site.channels % given:
            yield Problem(
                pointer=f"/norm/{field}",
                layer=site.name,
                detail=f"{field} is {given} but must divide the {site.channels} channels of {site.name}",
                remedy=f"one of {fitting}, which divide the channels of every norm layer",
            )


def check_positions_per_channel(context: CheckContext) -> Iterator[Problem]:
    norm = context.spec.norm
    if not isinstance(norm, InstanceNorm | FilterResponseNorm):
        return
    for site in context.sites:
        if site.positions == 1 and len(site.shape) > 1 and not site.tokens:
            yield Problem(
                pointer="/norm/kind",
                layer=site.name,
                detail=f"{name_norm(norm)} averages over positions but {site.name} has one per channel",
                remedy=f"layer or group norm{_or_larger(site)}",
            )


def check_elements_per_group(context: CheckContext) -> Iterator[Problem]:
    """No error in torch: the layer's output is its bias and what 1 / sqrt(eps) makes of rounding errors,
    or a sign, whatever the input."""
    for site in context.sites:
        if _elements(context.spec.norm, site) == 1:
            yield _constant(context.spec.norm, site)


def _elements(norm: NormSpec, site: NormSite) -> float | None:
    """How many values share their statistics, where that is a matter of one sample."""
    match norm:
        case GroupNorm(groups=None, channels_per_group=size):
            return (size or 1) * site.positions
        case GroupNorm(groups=groups):
            return site.channels * site.positions / (groups or 1)
        case EvoNorm(form="S0", groups=groups):
            return site.channels * site.positions / groups
        case LayerNorm(axes="all"):
            return site.channels * (1 if site.tokens else site.positions)
        case LayerNorm() | RmsNorm():
            return site.channels
        case _:
            return None


def _constant(norm: NormSpec, site: NormSite) -> Problem:
    field = group_field(norm) if _has_groups(norm) else None
    becomes = "a sign" if isinstance(norm, RmsNorm) else "its bias and amplified rounding noise"
    if isinstance(norm, EvoNorm):
        becomes = "not normalized"
    return Problem(
        pointer=f"/norm/{field or 'kind'}",
        layer=site.name,
        detail=f"{name_norm(norm)} averages over one element in {site.name} "
        f"({site.channels} channels, {site.positions} position{'s' * (site.positions > 1)}): "
        f"its output is {becomes}",
        remedy=f"{'fewer groups' if field else 'a wider model'}{_or_larger(site)}",
    )


def _has_groups(norm: NormSpec) -> TypeGuard[GroupNorm | EvoNorm]:
    return isinstance(norm, GroupNorm) or (isinstance(norm, EvoNorm) and norm.form == "S0")


def _given_groups(norm: GroupNorm | EvoNorm) -> int:
    by_size = norm.channels_per_group if isinstance(norm, GroupNorm) else None
    return norm.groups or by_size or 1


def _or_larger(site: NormSite) -> str:
    return ", or larger images (dataset.image_size)" if len(site.shape) > 1 else ""


def warn_idle_lrn(context: CheckContext) -> Iterator[str]:
    """AlexNet's numbers were for activations in the hundreds."""
    norm = context.spec.norm
    if not isinstance(norm, LocalResponseNorm):
        return
    window = norm.n if norm.across == "channels" else norm.n**2
    if norm.alpha * window < 0.01 * norm.k:
        yield (
            f"lrn with k {norm.k:g}, n {norm.n} and alpha {norm.alpha:g} is nearly a constant factor of "
            f"{norm.k**-norm.beta:.3g} on activations of unit scale; an alpha of about "
            f"{0.5 * norm.k / window:.1g} would do something"
        )


def warn_filter_response_without_tlu(context: CheckContext) -> Iterator[str]:
    norm = context.spec.norm
    if isinstance(norm, FilterResponseNorm) and not norm.tlu:
        yield (
            "filter_response removes no mean and was made for the thresholded linear unit behind it: "
            "without tlu a ReLU drops what lies below an arbitrary zero"
        )


def warn_redundant_weight_scaling(context: CheckContext) -> Iterator[str]:
    weights, norm = context.spec.weights, context.spec.norm
    if not uses_batch_statistics(norm):
        return
    if weights.kind in ("weight_norm", "spectral"):
        yield (
            f"{name_norm(norm)} takes the scale of weights out again, so {weights.kind} changes little "
            "but the effective learning rate"
        )
    # It also centers weights, which is more than their scale.
    if weights.kind == "scaled_standardization":
        yield (
            f"{name_norm(norm)} takes out again what scaled_standardization scales activations to, and its gains: it was "
            "made for networks without norm (arXiv 2101.08692)"
        )


def warn_norm_behind_scaled_weights(context: CheckContext) -> Iterator[str]:
    """NF-ResNets and NFNets of timm, whose blocks also count on the variance that the ones before them give."""
    norm, survey = context.spec.norm, context.survey
    if survey is None or survey.own_weights != "scaled_standardization":
        return
    if not isinstance(norm, SCALE_MATTERS):
        yield (
            f"{context.spec.model.name} was made for training without a norm (arXiv 2101.08692): {name_norm(norm)} "
            "takes out again what its weights scale activations to, their gains among it, which begin at zero in the last "
            "convolution of a branch"
        )


def warn_weight_standardization_without_norm(context: CheckContext) -> Iterator[str]:
    norm, survey = context.spec.norm, context.survey
    kinds = (context.spec.weights.kind, survey.own_weights if survey else None)
    if "standardization" in kinds and isinstance(norm, SCALE_MATTERS):
        yield (
            "standardized weights have unit variance whatever the size of the layer, so with "
            f"{name_norm(norm)} activations grow from layer to layer: they are meant beside group norm; "
            "scaled_standardization is for no norm"
        )


def warn_untuned_baseline(context: CheckContext) -> Iterator[str]:
    optimizer = context.spec.optimizer
    if not isinstance(context.spec.norm, NoNorm) or not context.sites:
        return
    if (
        isinstance(optimizer, Sgd)
        and context.spec.peak_learning_rate / (1 - optimizer.momentum) > _MOST_WITHOUT_NORM
    ):
        yield (
            f"without norm a learning rate of {context.spec.peak_learning_rate:g} at momentum {optimizer.momentum:g} may "
            "diverge: tune it for this variant, or the comparison is unfair to it"
        )


def warn_curve_replaces_batch_norm(context: CheckContext) -> Iterator[str]:
    """Zhu et al. 2025, §9 and table 16: what holds for transformers does not hold here."""
    norm = context.spec.norm
    if not isinstance(norm, DynamicTanh | Derf):
        return
    if any("BatchNorm" in site.kind and len(site.shape) > 1 for site in context.sites):
        yield (
            f"{name_norm(norm)} takes the place of batch norm in a convolutional network, where the "
            "paper on dynamic tanh reports a loss of accuracy (ImageNet: ResNet-50 76.2 to 68.9 %, "
            "VGG19 72.7 to 71.0 %)"
        )


def check_frozen_statistics_are_of_a_training(context: CheckContext) -> Iterator[Problem]:
    """Without one they are zeros and ones: nothing would be normalized, and the result would be told as batch norm's."""
    norm = context.spec.norm
    if isinstance(norm, BatchNorm) and norm.frozen is not None and context.spec.init_from is None:
        yield Problem(
            pointer="/norm/frozen",
            detail="frozen batch norm keeps the statistics of the weights that it begins with, but this job begins "
            "anew, with means of 0 and variances of 1",
            remedy="init_from: a job that was trained with batch norm; or no frozen",
        )


NORM_CHECKS = (
    check_frozen_statistics_are_of_a_training,
    check_norms_replaceable,
    check_norm_sites_exist,
    check_norm_fits_sites,
    check_groups_divide_channels,
    check_positions_per_channel,
    check_elements_per_group,
)
NORM_WARNINGS = (
    warn_idle_lrn,
    warn_filter_response_without_tlu,
    warn_redundant_weight_scaling,
    warn_norm_behind_scaled_weights,
    warn_weight_standardization_without_norm,
    warn_untuned_baseline,
    warn_curve_replaces_batch_norm,
)
