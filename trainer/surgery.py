"""Puts a norm in the place of every norm layer of any model. Knows neither specs of jobs nor data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trainer.errors import ModelError, SurgeryError
from trainer.norms import ChannelsLast, NormThenActivation, build_norm
from trainer.sites import NormSite, Survey, copy_to_meta, run_on_meta, survey_norms
from trainer.spec import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm, NormSpec


@dataclass(frozen=True, slots=True)
class SurgeryReport:
    """What was done: norm layers replaced, layers that got a zero bias, and what a reader must know."""

    replaced: tuple[str, ...]
    biases: tuple[str, ...]
    notes: tuple[str, ...]


def replace_norms(
    model: nn.Module, norm: NormSpec, example_shape: tuple[int, ...]
) -> SurgeryReport:
    """In place, drawing nothing: all other layers keep their values bit for bit.

    The new norms take over gain and bias, so a branch that starts at zero still does. Raises
    SurgeryError, naming the layer, where a norm is out of reach or undefined; nothing is changed then.
    """
    survey = survey_norms(model, example_shape)
    refuse_obstacles(survey, norm)
    twin = copy_to_meta(model)
    _operate(twin, norm, survey)
    _require_working(twin, norm, example_shape, survey)
    return _operate(model, norm, survey)


def refuse_obstacles(survey: Survey, norm: NormSpec) -> None:
    """Raises SurgeryError for the first layer that this norm cannot be put in."""
    for obstacle in survey.obstacles:
        raise SurgeryError(
            f"{obstacle.layer or 'the model'}: {obstacle.detail}, which cannot be replaced",
            "another model",
            pointer="/model/name",
            layer=obstacle.layer or None,
        )
    if not survey.sites and not isinstance(norm, NoNorm):
        raise SurgeryError(
            f"the model has no norm layers, so {norm.kind} norm would change nothing",
            "norm: {kind: none}, or a model with norm layers",
        )
    for site in survey.sites:
        if (problem := explain_misfit(norm, site)) is not None:
            raise problem


def explain_misfit(norm: NormSpec, site: NormSite) -> SurgeryError | None:
    """Why this norm is not defined on what the layer sees, or None."""
    if isinstance(norm, GroupNorm | InstanceNorm) and site.tokens:
        return SurgeryError(
            f"{site.name} sees a sequence of tokens (N, L, C), on which {norm.kind} norm is not defined",
            "layer, batch or none; or a model of convolutions",
            layer=site.name,
        )
    per_sample = isinstance(norm, GroupNorm | InstanceNorm) or (
        isinstance(norm, LayerNorm) and site.positions > 1
    )
    if per_sample and site.folded and not site.tokens:
        return SurgeryError(
            f"{site.name} sees windows instead of whole samples, so {norm.kind} norm would mean "
            "something else there",
            "batch or none, or another model",
            layer=site.name,
        )
    return None


def _operate(model: nn.Module, norm: NormSpec, survey: Survey) -> SurgeryReport:
    modules = dict(model.named_modules())
    # Built before the first is put in, so that a refusal leaves the model as it was.
    made = {
        id(modules[site.name]): _replacement(norm, site, modules[site.name])
        for site in survey.sites
    }
    notes = list(_describe(norm, survey, modules))
    biases = _add_biases(modules, survey) if isinstance(norm, NoNorm) else ()
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if id(module) in made:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, made[id(module)])
    return SurgeryReport(tuple(site.name for site in survey.sites), biases, tuple(notes))


def _replacement(norm: NormSpec, site: NormSite, old: nn.Module) -> nn.Module:
    try:
        new = _fitted(norm, site)
    except SurgeryError as error:
        error.layer = site.name
        raise
    values = next(iter((*old.parameters(), *old.buffers())), None)
    if values is not None:
        new.to(values.device)
    new.train(old.training)
    _copy_affine(old, new)
    if isinstance(act := getattr(old, "act", None), nn.Module):
        drop = getattr(old, "drop", None)
        return NormThenActivation(new, drop if isinstance(drop, nn.Module) else nn.Identity(), act)
    return new


def _fitted(norm: NormSpec, site: NormSite) -> nn.Module:
    if site.tokens and isinstance(norm, LayerNorm):
        # Each token alone, as in every transformer.
        return build_norm(norm, site.channels, 2)
    built = build_norm(norm, site.channels, len(site.shape) + 1)
    last = site.layout == "channels_last" and len(site.shape) > 1
    return ChannelsLast(built) if last and not isinstance(norm, NoNorm) else built


def _copy_affine(old: nn.Module, new: nn.Module) -> None:
    inner = new.norm if isinstance(new, ChannelsLast) else new
    for values, target in zip(_affine(old), _affine(inner), strict=True):
        if values is not None and target is not None:
            with torch.no_grad():
                target.copy_(values)


def _affine(norm: nn.Module) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    gain, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    return (
        gain if isinstance(gain, torch.Tensor) else None,
        bias if isinstance(bias, torch.Tensor) else None,
    )


def _add_biases(modules: dict[str, nn.Module], survey: Survey) -> tuple[str, ...]:
    """A zero bias for each layer that alone fed a norm and has none: the norm's bias, moved."""
    given: list[str] = []
    for site in survey.sites:
        layer = modules.get(site.producer) if site.producer else None
        if layer is not None and layer.bias is None:
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            layer.bias = nn.Parameter(weight.new_zeros(site.channels))
            given.append(str(site.producer))
    return tuple(given)


def _describe(norm: NormSpec, survey: Survey, modules: dict[str, nn.Module]) -> Iterator[str]:
    if survey.unused:
        yield f"never called, so left alone: {shorten(survey.unused)}"
    if isinstance(norm, NoNorm):
        if orphans := [site.name for site in survey.sites if site.producer is None]:
            yield f"no single layer feeds these, so no bias took their place: {shorten(orphans)}"
        if zeros := [site.name for site in survey.sites if _starts_at_zero(modules[site.name])]:
            yield f"these began at zero gain, their branches now do not: {shorten(zeros)}"
    if isinstance(norm, LayerNorm):
        tokens = [site.name for site in survey.sites if site.tokens]
        if tokens:
            yield f"each token is normalized alone in {shorten(tokens)}"
    if isinstance(norm, BatchNorm) and any(site.tokens for site in survey.sites):
        yield "on sequences, statistics are over samples and tokens"
    yield from _describe_options(norm, survey, modules)


def shorten(names: Sequence[str]) -> str:
    """The first three, and how many more: big models have dozens."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _describe_options(
    norm: NormSpec, survey: Survey, modules: dict[str, nn.Module]
) -> Iterator[str]:
    if isinstance(norm, NoNorm):
        return
    own = {(s.kind, getattr(modules[s.name], "eps", None)) for s in survey.sites}
    for kind, eps in sorted(own, key=str):
        if isinstance(eps, float) and eps != norm.eps:
            yield f"the model's own {kind} has eps {eps:g}, the spec's norm has {norm.eps:g}"
    if isinstance(norm, BatchNorm):
        momenta = {getattr(modules[s.name], "momentum", None) for s in survey.sites}
        for momentum in sorted(m for m in momenta if isinstance(m, float) and m != norm.momentum):
            yield f"the model's own momentum is {momentum:g}, the spec's norm has {norm.momentum:g}"


def _starts_at_zero(norm: nn.Module) -> bool:
    gain, _ = _affine(norm)
    return gain is not None and not gain.is_meta and not bool(gain.count_nonzero())


def _require_working(
    twin: nn.Module, norm: NormSpec, example_shape: tuple[int, ...], survey: Survey
) -> None:
    """Some models look into their norm layers; that must show now and not in training."""
    try:
        output = run_on_meta(twin, example_shape)
    except ModelError as error:
        raise SurgeryError(
            f"the model does not run with {norm.kind} norm: {error.__cause__}",
            "another norm, or another model",
            layer=error.layer,
        ) from error
    assert tuple(output.shape) == survey.output_shape
