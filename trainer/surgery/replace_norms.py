"""Puts a norm in the place of every norm layer of any model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.errors import ModelError, SurgeryError
from trainer.spec import (
    BatchNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    NormSpec,
    RmsNorm,
    find_gap,
    name_norm,
)
from trainer.surgery.build_norm import (
    ActivationThenNorm,
    NormThenActivation,
    Site,
    bare_norm,
    build_norm,
    mark_site,
    takes_activation,
    uses_batch_statistics,
)
from trainer.surgery.notes import describe_surgery
from trainer.surgery.survey import NormSite, Survey, survey_norms
from trainer.surgery.tracing import copy_to_meta, run_on_meta


@dataclass(frozen=True, slots=True)
class SurgeryReport:
    """What was done: norm layers replaced (or put behind these convolutions), layers that got a zero
    bias, and what a reader must know."""

    replaced: tuple[str, ...]
    biases: tuple[str, ...]
    notes: tuple[str, ...]


def replace_norms(
    model: nn.Module,
    norm: NormSpec,
    example_shape: tuple[int, ...],
    survey: Survey | None = None,
) -> SurgeryReport:
    """In place, drawing nothing: all other layers keep their values bit for bit.

    The new norms take over gain and bias, so a branch that starts at zero still does. A norm that
    activates as well takes the place of the activation too. Raises SurgeryError, naming the layer,
    where a norm is out of reach or undefined; nothing is changed then. `survey` saves a forward pass
    where this model, as it is, was surveyed before.
    """
    survey = survey or survey_norms(model, example_shape)
    refuse_obstacles(survey, norm)
    # First on a copy that has shapes but no weights, and is thrown away: a model that breaks with
    # this norm is refused before the real one is touched.
    twin = copy_to_meta(model)
    put_norms(twin, norm, survey)
    _require_working(twin, norm, example_shape, survey)
    return put_norms(model, norm, survey)


def choose_sites(survey: Survey, norm: NormSpec) -> tuple[NormSite, ...]:
    """The model's own norm layers; in a model without any, a place behind each convolution."""
    return survey.sites if survey.sites or isinstance(norm, NoNorm) else survey.places


def refuse_obstacles(survey: Survey, norm: NormSpec) -> None:
    """Raises SurgeryError for the first layer that this norm cannot be put in."""
    for obstacle in survey.obstacles:
        raise SurgeryError(
            f"{obstacle.layer or 'the model'}: {obstacle.detail}, which cannot be replaced",
            "another model",
            pointer="/model/name",
            layer=obstacle.layer or None,
        )
    sites = choose_sites(survey, norm)
    if not sites and not isinstance(norm, NoNorm):
        raise SurgeryError(
            f"the model has neither norm layers nor convolutions before its outputs, so {name_norm(norm)} "
            "has no place",
            "norm: {kind: none}, or a model with norm layers or convolutions",
        )
    for site in sites:
        if (problem := explain_misfit(norm, site)) is not None:
            raise problem


def explain_misfit(norm: NormSpec, site: NormSite) -> SurgeryError | None:
    """Why this norm is not defined on what the layer sees, or has no place there; or None."""
    if (gap := find_gap(norm, "N,L,C" if site.tokens else site.layout)) is not None:
        return SurgeryError(f"{site.name}: {gap.reason}", gap.remedy, layer=site.name)
    if site.folded and not site.tokens and _looks_beyond_a_position(norm, site):
        return SurgeryError(
            f"{site.name} sees windows instead of whole samples, so {name_norm(norm)} would mean "
            "something else there",
            "batch, none or a norm over channels alone; or another model",
            layer=site.name,
        )
    return _explain_misplacement(norm, site)


def _looks_beyond_a_position(norm: NormSpec, site: NormSite) -> bool:
    """Whether it needs to know what belongs to one sample, or to how many."""
    match norm:
        case LayerNorm(axes=axes):
            return axes == "all" and site.positions > 1
        case LocalResponseNorm(across=across):
            return across == "space"
        case RmsNorm() | BatchNorm():
            return False
        case _:
            by_batch = uses_batch_statistics(norm) and norm.kind != "ghost_batch"
            return not by_batch and norm.kind not in ("none", "dynamic_tanh", "derf")


def _explain_misplacement(norm: NormSpec, site: NormSite) -> SurgeryError | None:
    if isinstance(norm, NoNorm) or norm.placement == "before":
        return None
    if takes_activation(norm):
        detail = f"{name_norm(norm)} takes the place of the activation: it can't come after it"
    elif site.activation is None and not site.is_fused:
        detail = (
            f"{site.name} is not followed by an activation layer of its own, so a norm can't be "
            "placed after it"
        )
    else:
        return None
    return SurgeryError(
        detail, "placement: before, or another model", pointer="/norm/placement", layer=site.name
    )


def put_norms(model: nn.Module, norm: NormSpec, survey: Survey) -> SurgeryReport:
    """In place, into a model that was surveyed, as `replace_norms` does once it has refused nothing."""
    modules, sites = dict(model.named_modules()), choose_sites(survey, norm)
    # Built before the first is put in, so that a refusal leaves the model as it was.
    made = {site.name: _build(norm, site, modules[site.name]) for site in sites}
    notes = list(describe_surgery(norm, survey, sites, modules))
    biases = _add_biases(modules, sites) if _needs_biases(norm) else ()
    changes: dict[int, nn.Module] = {}
    for site in sites:
        changes |= _place(norm, site, made[site.name], modules)
    # With duplicates: a layer that several parents share must be replaced under each of its names.
    # As a list, since the model changes meanwhile.
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if id(module) in changes:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, changes[id(module)])
    return SurgeryReport(tuple(site.name for site in sites), biases, tuple(notes))


def _place(
    norm: NormSpec, site: NormSite, new: nn.Module, modules: dict[str, nn.Module]
) -> dict[int, nn.Module]:
    """What becomes of the norm layer and of the activation behind it; a convolution stays."""
    old = modules[site.name]
    activation = modules[site.activation] if site.activation else None
    after = not isinstance(norm, NoNorm) and norm.placement == "after"
    if isinstance(act := getattr(old, "act", None), nn.Module) and not site.follows:
        drop = getattr(old, "drop", None)
        drop = drop if isinstance(drop, nn.Module) else nn.Identity()
        if after:
            return {id(old): ActivationThenNorm(nn.Sequential(drop, act), new)}
        return {
            id(old): NormThenActivation(new, drop, nn.Identity() if takes_activation(norm) else act)
        }
    if after:
        assert activation is not None
        # The norm leaves its old place, before the activation, and comes back behind it.
        rest = {} if site.follows else {id(old): nn.Identity()}
        return {**rest, id(activation): ActivationThenNorm(activation, new)}
    changes: dict[int, nn.Module] = {}
    if activation is not None and takes_activation(norm):
        changes[id(activation)] = nn.Identity()
    if site.follows:
        old.add_module("norm", new)
        # A hook, since the convolution must stay the module that it is: its name, and with it the
        # names of its parameters in checkpoints, would change inside of a wrapper.
        old.register_forward_hook(_normalize_output)
        return changes
    return {**changes, id(old): new}


def _normalize_output(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    normalized: Tensor = module.get_submodule("norm")(output)
    return normalized


def _build(norm: NormSpec, site: NormSite, old: nn.Module) -> nn.Module:
    try:
        new = _fitted(norm, site)
    except SurgeryError as error:
        error.layer = site.name
        raise
    values = next(iter((*old.parameters(), *old.buffers())), None)
    if values is not None:
        new.to(values.device)
    new.train(old.training)
    # The mark is an attribute, not a buffer, so state dicts are those of a model without it.
    mark_site(new, Site(site.name, -1 if site.layout in ("N,L,C", "N,H,W,C") else 1))
    if not site.follows:
        _copy_affine(old, new)
    return new


def _fitted(norm: NormSpec, site: NormSite) -> nn.Module:
    if site.tokens and isinstance(norm, LayerNorm):
        # Each token alone, as in every transformer.
        norm = norm.model_copy(update={"axes": "channels"})
    return build_norm(norm, site.channels, site.layout)


def _copy_affine(old: nn.Module, new: nn.Module) -> None:
    for values, target in zip(_affine(old), _affine(bare_norm(new)), strict=True):
        # A norm without a gain or a bias of its own takes none over, and one whose predecessor had
        # none begins with torch's ones and zeros.
        if values is not None and target is not None:
            with torch.no_grad():
                target.copy_(values)


def _affine(norm: nn.Module) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    gain, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    return (
        gain if isinstance(gain, torch.Tensor) else None,
        bias if isinstance(bias, torch.Tensor) else None,
    )


def _needs_biases(norm: NormSpec) -> bool:
    """Without a norm between layer and activation nothing else shifts what the activation sees."""
    return isinstance(norm, NoNorm | LocalResponseNorm | RmsNorm) or norm.placement == "after"


def _add_biases(modules: dict[str, nn.Module], sites: Sequence[NormSite]) -> tuple[str, ...]:
    """A zero bias for each layer that alone fed a norm and has none: the norm's bias, moved."""
    given: list[str] = []
    for site in sites:
        layer = modules.get(site.producer) if site.producer else None
        # Libraries leave out the bias of a convolution whose norm has one. Where the new norm has
        # none, that shift would be missing: the comparison would be about the bias as much as about
        # the norm.
        if layer is not None and layer.bias is None:
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            layer.bias = nn.Parameter(weight.new_zeros(site.channels))
            given.append(str(site.producer))
    return tuple(given)


def _require_working(
    twin: nn.Module, norm: NormSpec, example_shape: tuple[int, ...], survey: Survey
) -> None:
    """Some models look into their norm layers; that must show now and not in training."""
    try:
        output = run_on_meta(twin, example_shape)
    except ModelError as error:
        raise SurgeryError(
            f"the model does not run with {name_norm(norm)}: {error.__cause__}",
            "another norm, or another model",
            layer=error.layer,
        ) from error
    assert tuple(output.shape) == survey.output_shape
