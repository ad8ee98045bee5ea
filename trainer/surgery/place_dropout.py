"""Puts what the spec drops into a model, in the places that it marks or that can be found."""

from collections import defaultdict
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from trainer.errors import ModelError
from trainer.layers import (
    BlockDropout,
    BranchDropout,
    DropoutLinear,
    DropSite,
    HeadSite,
    drop_weights,
)
from trainer.spec import (
    DropBlock,
    DropConnect,
    Dropout,
    JobSpec,
    LibraryModel,
    PluginModel,
    SpatialDropout,
    StochasticDepth,
)
from trainer.surgery.find_dropout_sites import (
    Shape,
    find_branches,
    names_of,
    trace,
    trace_activations,
)
from trainer.surgery.notes import shorten
from trainer.surgery.survey import survey_norms


def place_dropout(model: nn.Module, spec: JobSpec, shape: Shape) -> tuple[str, ...]:
    """In place, drawing nothing; parameters keep their names. Returns what a reader must know.

    Where several drop at one place, they do so in the order of the spec. Raises ModelError, with the
    field and where there is one the layer, for what has no place in this model.
    """
    notes: list[str] = []
    planned: dict[str, list[nn.Module]] = defaultdict(list)
    for index, part in enumerate(spec.regularization):
        try:
            match part:
                case Dropout():
                    _plan_dropout(model, spec, part, shape, planned)
                case SpatialDropout() | DropBlock():
                    notes += _plan_maps(model, spec, part, shape, planned)
                case DropConnect():
                    notes += _drop_weights(model, part, shape)
                case StochasticDepth():
                    _drop_branches(model, part, shape)
                case _:
                    pass  # the others drop nothing
        except _NoPlace as error:
            raise ModelError(
                f"{spec.model.name} {error}",
                error.remedy,
                pointer=f"/regularization/{index}/{error.field}",
                layer=error.layer,
            ) from error
    _carry_out(model, planned)
    return tuple(notes)


class _NoPlace(Exception):
    """What is said of the model, the field that asks for it, and what to do instead."""

    def __init__(
        self, message: str, remedy: str, field: str = "kind", layer: str | None = None
    ) -> None:
        super().__init__(message)
        self.remedy, self.field, self.layer = remedy, field, layer


def _plan_dropout(
    model: nn.Module,
    spec: JobSpec,
    dropout: Dropout,
    shape: Shape,
    planned: dict[str, list[nn.Module]],
) -> None:
    if dropout.p:
        library = isinstance(spec.model, LibraryModel | PluginModel)
        match dropout.where:
            case "hidden" if library:
                _set_own_layers(model, dropout.p)
            case "head" if library:
                _drop_before_classifier(model, shape, dropout.p)
            case where:
                marker = DropSite if where == "hidden" else HeadSite
                sites = names_of(model, marker)
                if not sites:
                    raise _NoPlace("has no hidden layer to drop from", "input_p alone", "where")
                for name in sites:
                    planned[name].append(nn.Dropout(dropout.p))
    if dropout.input_p:
        _drop_input(model, dropout.input_p)


def _set_own_layers(model: nn.Module, p: float) -> None:
    layers = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    if not layers:
        raise _NoPlace("has no dropout layers to set p on", "where: head", "where")
    for own in layers:
        own.p = p


def _drop_before_classifier(model: nn.Module, shape: Shape, p: float) -> None:
    name = survey_norms(model, shape).classifier
    if name is None:
        raise _NoPlace(
            "does not end in a linear layer, so there is no place before it",
            "where: hidden, if the model has dropout layers",
            "where",
        )
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    _replace(model, name, DropoutLinear(layer, p))


def _drop_input(model: nn.Module, p: float) -> None:
    """A first layer; or, in a model with a `forward` of its own, a layer that its call begins with."""
    # A container calls its children in order, so a first child is enough, and unlike a hook it
    # shows when the model is printed. The others keep their names, and with them the names of their
    # parameters.
    if type(model) is nn.Sequential:
        children = dict(model.named_children())
        model._modules.clear()
        for name, child in {"input_dropout": nn.Dropout(p), **children}.items():
            model.add_module(name, child)
    else:
        model.add_module("input_dropout", nn.Dropout(p))
        model.register_forward_pre_hook(_call_input_dropout)


def _call_input_dropout(model: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (model.get_submodule("input_dropout")(args[0]), *args[1:])


def _plan_maps(
    model: nn.Module,
    spec: JobSpec,
    part: SpatialDropout | DropBlock,
    shape: Shape,
    planned: dict[str, list[nn.Module]],
) -> Iterator[str]:
    """After the hidden activations that give maps N, C, H, W; a note says which do, or which do not."""
    library = isinstance(spec.model, LibraryModel | PluginModel)
    seen = trace_activations(model, shape) if library else trace(model, shape, DropSite)
    maps = [name for name, one in seen.items() if len(one) == 4]
    others = [name for name in seen if name not in maps]
    if not maps:
        raise _NoPlace(
            f"has no hidden activation, as a layer, that gives maps: {part.kind} drops parts of them",
            "dropout, or another convolutional model",
            layer=next(iter(others), None),
        )
    for name in maps if part.p else ():
        if library and not planned[name]:
            planned[name].append(model.get_submodule(name))
        planned[name].append(_build_map_layer(part))
    if library:
        yield f"{part.kind} follows these activations: {shorten(maps)}"
    elif others:
        yield f"{part.kind} leaves alone what gives no maps: {shorten(others)}"


def _build_map_layer(part: SpatialDropout | DropBlock) -> nn.Module:
    match part:
        case SpatialDropout():
            # Tompson et al. 2015, arXiv 1411.4280.
            return nn.Dropout2d(part.p)
        case DropBlock():
            return BlockDropout(part.p, part.block_size, part.channels, part.ramp)


def _drop_weights(model: nn.Module, part: DropConnect, shape: Shape) -> Iterator[str]:
    last = survey_norms(model, shape).classifier
    hidden = [name for name in names_of(model, nn.Linear, _ConvNd) if name != last]
    # A layer that is never called has its weights read by attention, which would see no mask.
    called = trace(model, shape, nn.Linear, _ConvNd)
    left = [
        name
        for name in hidden
        if name not in called or not drop_weights(model.get_submodule(name), part.p)
    ]
    if len(left) == len(hidden):
        raise _NoPlace(
            "has no hidden linear or convolution layer whose weights can be dropped",
            "dropout, or another model",
            layer=left[0] if left else None,
        )
    if left:
        yield f"drop_connect leaves alone what reads its weights in its own way: {shorten(left)}"
    if last is None:
        yield "the model does not end in a linear layer, so drop_connect acts on its last layer too"


def _drop_branches(model: nn.Module, part: StochasticDepth, shape: Shape) -> None:
    """The linear rule `p_l = l / L * p` over the branches in the order of their calls (Huang et al. 2016,
    arXiv 1603.09382, §3); branches that are never called are none."""
    for parent, child in list(find_branches(model)):
        setattr(parent, child, BranchDropout(0.0, part.per))
    called = [model.get_submodule(name) for name in trace(model, shape, BranchDropout)]
    if not called:
        raise _NoPlace(
            "has no residual branches that can be skipped",
            "resnet20, vit_small, or a library's model that has stochastic depth "
            "(torchvision:convnext_tiny, timm:resnet18)",
        )
    for number, branch in enumerate(called, start=1):
        assert isinstance(branch, BranchDropout)
        # With p = 0.5 and ten branches the first is dropped with 0.05, the last with 0.5: early
        # layers feed all later ones.
        branch.p = part.p * number / len(called)


def _carry_out(model: nn.Module, planned: dict[str, list[nn.Module]]) -> None:
    """A layer that is used in several places is replaced in all of them."""
    made = {
        id(model.get_submodule(name)): layers[0] if len(layers) == 1 else nn.Sequential(*layers)
        for name, layers in planned.items()
    }
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if id(module) in made:
            _replace(model, name, made[id(module)])


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
