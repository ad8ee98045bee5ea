"""Weights of another training in a model: whether they fit, and putting them in."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from trainer.errors import ModelError
from trainer.models.parameters import find_head
from trainer.spec import InitFrom, Problem


def find_misfits(
    model: nn.Module, weights: Mapping[str, Tensor], init_from: InitFrom
) -> Iterator[Problem]:
    """What differs between the state dict of the model and these, by name and shape; works on the meta device."""
    own, head = model.state_dict(), _head_prefix(model)
    spared = head if init_from.reset_head else None
    there = f"the weights of job {init_from.job}"
    for name in sorted(own.keys() | weights.keys()):
        if spared is not None and name.startswith(spared):
            continue
        sizes = [_size(one[name]) if name in one else None for one in (own, weights)]
        if sizes[0] == sizes[1]:
            continue
        here, elsewhere = (size or "missing" for size in sizes)
        is_head = head is not None and name.startswith(head)
        yield Problem(
            pointer="/init_from/reset_head" if is_head else "/init_from/job",
            layer=name.rpartition(".")[0] or None,
            detail=f"{there} do not fit: {name} is {here} in this model and {elsewhere} there",
            remedy="reset_head: true, by which the last layer begins anew"
            if is_head
            else f"the model, norm, weights and image size of job {init_from.job}",
        )


def transfer(model: nn.Module, weights: Mapping[str, Tensor], init_from: InitFrom) -> None:
    """In place, all of them or none. Raises ModelError with the first that does not fit."""
    for misfit in find_misfits(model, weights, init_from):
        raise ModelError(
            misfit.detail, misfit.remedy or "", pointer=misfit.pointer, layer=misfit.layer
        )
    own = model.state_dict()
    head = _head_prefix(model) if init_from.reset_head else None
    kept = {name for name in own if head is not None and name.startswith(head)}
    model.load_state_dict({name: own[name] if name in kept else weights[name] for name in own})


def _head_prefix(model: nn.Module) -> str | None:
    head = find_head(model)
    return next((f"{name}." for name, one in model.named_modules() if one is head), None)


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
