"""Whether a network's outputs depend on its images at all, once a norm has been put in.

Two different images go through the network with random weights: not with its initial ones, of which some
are zero at first and learned later (classifiers, gains of residual branches). Networks too large for that are
traced instead.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.checks.context import CheckContext
from trainer.checks.dependence_trace import Blindness, trace_blindness
from trainer.layers import drops
from trainer.models import build_bare_model, count_parameters, input_shape, weightless
from trainer.random_streams import seeded
from trainer.spec import (
    BatchNorm,
    BatchRenorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Problem,
    name_norm,
)
from trainer.surgery import NormSite, find_sites, put_norms, shorten, uses_batch_statistics

log = logging.getLogger(__name__)

#: Of one image, and of parameters: about half a second on one core, and half a gigabyte.
MOST_MULTIPLICATIONS = 5e9
MOST_PARAMETERS = 60_000_000

#: Of the size of the outputs. Rounding alone gives 1e-6 in single precision, and 1e-13 in double.
_CLEARLY = 1e-3
_HARDLY = 1e-9


@dataclass(frozen=True, slots=True)
class Dependence:
    """`blind` is the problem of a network that ignores its images."""

    blind: Problem | None = None
    notes: tuple[str, ...] = ()


def check_input_dependence(context: CheckContext, meta_copy: nn.Module) -> Dependence:
    """`meta_copy` is the model on the meta device with its norms in; hooks are left on it."""
    erasing = {site.name for site in context.sites if _removes_means(context, site)}
    if not erasing:
        return Dependence()
    shape = input_shape(context.spec, context.info)
    traced = trace_blindness(meta_copy, shape, erasing.__contains__)
    is_blind, last = traced.is_total, traced.pooled[-1] if traced.pooled else None
    if _is_small(context, meta_copy) and (measured := _measure(context, is_blind)) is not None:
        is_blind, last = measured.is_blind, last or measured.last_norm
    if is_blind:
        return Dependence(blind=_describe_blind(context, last))
    return Dependence(notes=tuple(_describe_constant_parts(context, traced)))


def _removes_means(context: CheckContext, site: NormSite) -> bool:
    """Whether the norm takes the mean over the positions out of each channel of each image."""
    if site.positions == 1 or site.folded:
        return False
    match context.spec.norm:
        case InstanceNorm():
            return True
        case GroupNorm(groups=None, channels_per_group=size):
            return size == 1
        case GroupNorm(groups=groups):
            return groups == site.channels
        case LayerNorm(axes="all"):
            return site.channels == 1 and not site.tokens
        case BatchNorm() | GhostBatchNorm() | BatchRenorm() as norm:
            return uses_batch_statistics(norm) and is_batch_of_one(context)
        case _:
            return False


def is_batch_of_one(context: CheckContext) -> bool:
    training = context.spec.training
    return training.batch_size // training.accumulate // context.normalizing_ranks == 1


def _is_small(context: CheckContext, meta_copy: nn.Module) -> bool:
    assert context.survey is not None
    return (
        context.survey.multiplications <= MOST_MULTIPLICATIONS
        and count_parameters(meta_copy) <= MOST_PARAMETERS
    )


def _describe_blind(context: CheckContext, layer: str | None) -> Problem:
    norm = context.spec.norm
    if uses_batch_statistics(norm):
        pointer, remedy = "/training/batch_size", "a larger batch_size, or layer or group norm"
        over = "each batch is one image, and "
    else:
        field = "groups" if isinstance(norm, GroupNorm) and norm.groups else "kind"
        pointer, remedy, over = f"/norm/{field}", "layer or batch norm, or another model", ""
        if isinstance(norm, GroupNorm):
            remedy = f"fewer groups, {remedy}"
    return Problem(
        pointer=pointer,
        layer=layer,
        detail=f"the outputs do not depend on the image: {over}{name_norm(norm)} in {layer or 'the last layer'} "
        "makes the mean of each channel its bias, and the mean is all that the layers behind it use",
        remedy=remedy,
    )


def _describe_constant_parts(context: CheckContext, traced: Blindness) -> Iterator[str]:
    """Squeeze-and-excitation behind a norm gives every image the same gates."""
    if traced.pooled:
        yield (
            f"averages over all positions behind {name_norm(context.spec.norm)} are the same for every image, "
            f"so what is computed from them is constant (gates, for example), behind {shorten(traced.pooled)}"
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """`last_norm` is the last whose input differs between the images."""

    is_blind: bool
    last_norm: str | None


def _measure(context: CheckContext, is_expected: bool) -> _Measured | None:
    """None where it cannot be told: the model does not run, or overflows. Outputs that are close together
    are computed again in double precision, unless the trace says that they are equal."""
    try:
        with seeded("init", 0), torch.no_grad():
            model = _build_random(context)
            images = _draw_images(input_shape(context.spec, context.info))
            spread, last = _compare(model, images)
            if spread < _CLEARLY and is_expected:
                spread = 0.0
            elif spread < _CLEARLY:
                spread, last = _compare(model.double(), [image.double() for image in images])
    except Exception:  # a library's model breaks in every way there is; the trace has an answer
        log.warning("two images could not be compared", exc_info=True)
        return None
    return _Measured(spread < _HARDLY, last) if spread == spread else None


def _build_random(context: CheckContext) -> nn.Module:
    """On the CPU, in training mode with nothing dropped. Initial values are not computed."""
    assert context.survey is not None
    with weightless():
        model = build_bare_model(context.spec, context.info)
    _make_parameters(model)
    put_norms(model, context.spec.norm, context.survey)
    # After the norms are in: their gains and biases are drawn as well, for a gain of zero would
    # hide the image.
    for name, parameter in model.named_parameters():
        _fill(name, parameter)
    model.train()
    for module in model.modules():
        if drops(module):
            module.training = False
    return model


def _make_parameters(model: nn.Module) -> None:
    """Real ones in the place of those on the meta device; shared ones stay shared."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    made[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="cpu"))
                module._parameters[name] = made[id(parameter)]


def _fill(name: str, parameter: Tensor) -> None:
    """Weights as by He et al. 2015, gains about one, biases small: nothing that blots the image out."""
    if parameter.ndim > 1:
        parameter.normal_(0, (2 / max(parameter[0].numel(), 1)) ** 0.5)
    elif "bias" in name.rpartition(".")[2]:
        parameter.normal_(0, 0.1)
    else:
        parameter.uniform_(0.5, 1.5)


def _draw_images(shape: tuple[int, ...]) -> list[Tensor]:
    """Noise, and a smooth picture: they differ in every statistic but the mean."""
    smooth = torch.randn(1, shape[0], *(min(side, 4) for side in shape[1:]))
    if len(shape) == 3:
        smooth = functional.interpolate(smooth, size=shape[1:], mode="bilinear")
    return [torch.randn(1, *shape), smooth]


def _compare(model: nn.Module, images: list[Tensor]) -> tuple[float, str | None]:
    """How far the outputs for the two images are apart, over their size; and the last norm that sees a
    difference. One image at a time, so that a batch has no others."""
    prints: list[dict[str, Tensor]] = []

    def keep(name: str) -> object:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            # A few values are enough to tell that inputs differ; whole activations of a large
            # network would fill the memory. A copy, since an activation in place would overwrite
            # them.
            prints[-1][name] = args[0].flatten()[:64].clone()

        return hook

    hooks = [
        module.register_forward_pre_hook(keep(name))  # type: ignore[arg-type]
        for name, (module, _) in find_sites(model).items()
    ]
    outputs = []
    for image in images:
        prints.append({})
        outputs.append(model(image))
    for hook in hooks:
        hook.remove()
    first, second = prints
    differing = [name for name in first if _spread(first[name], second[name]) > _CLEARLY]
    return _spread(*outputs), differing[-1] if differing else None


def _spread(one: Tensor, other: Tensor) -> float:
    size = float(torch.maximum(one.abs().max(), other.abs().max()))
    return float((one - other).abs().max()) / size if size else 0.0
