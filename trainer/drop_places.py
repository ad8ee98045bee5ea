"""Puts what the spec drops into a model, in the places that it marks or that can be found.

Knows neither how a model is built nor how it is trained.
"""

from torch import nn

from trainer.dropout import DropoutLinear, DropSite, HeadSite
from trainer.errors import ModelError
from trainer.sites import survey_norms
from trainer.spec import Dropout, JobSpec, LibraryModel


def place_dropout(model: nn.Module, spec: JobSpec, shape: tuple[int, ...]) -> None:
    """In place, drawing nothing; parameters keep their names. Raises ModelError with the field."""
    dropout = spec.regularizer(Dropout)
    if dropout is None or not dropout.p:
        return
    if isinstance(spec.model, LibraryModel):
        pointer = f"/regularization/{spec.regularization.index(dropout)}/where"
        _place_in_library_model(model, spec.model, dropout, shape, pointer)
        return
    marker = DropSite if dropout.where == "hidden" else HeadSite
    for name, module in list(model.named_modules()):
        if isinstance(module, marker):
            _replace(model, name, nn.Dropout(dropout.p))


def _place_in_library_model(
    model: nn.Module, spec: LibraryModel, dropout: Dropout, shape: tuple[int, ...], pointer: str
) -> None:
    """Its own dropout layers, or one before its last linear layer."""
    if dropout.where == "hidden":
        layers = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
        if not layers:
            raise ModelError(
                f"{spec.name} has no dropout layers to set p on",
                "where: head",
                pointer=pointer,
            )
        for own in layers:
            own.p = dropout.p
        return
    name = survey_norms(model, shape).classifier
    if name is None:
        raise ModelError(
            f"{spec.name} does not end in a linear layer, so there is no place before it",
            "where: hidden, if the model has dropout layers",
            pointer=pointer,
        )
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    _replace(model, name, DropoutLinear(layer, dropout.p))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
