"""Models of torchvision and timm, randomly initialised; both are imported only when asked for."""

import difflib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainer.errors import ModelError
from trainer.models.cnn_mlp_resnet import Shape
from trainer.models.library_imports import without_compiler
from trainer.spec import LibraryModel
from trainer.surgery import copy_to_meta

#: Torchvision's models that end in several outputs while training by default.
_AUXILIARY = ("googlenet", "inception_v3")
#: The argument by which torchvision's models of a fixed image size take that size.
_SIZE_ARGUMENTS = {"vit": "image_size", "maxvit": "input_size"}


def build_library_model(spec: LibraryModel, shape: Shape, classes: int) -> nn.Module:
    """Random weights, nothing downloaded. Raises ModelError for an unknown name or unfit images."""
    require_known(spec)
    try:
        # What a library warns about while it builds is about its weights, of which there are none.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _build(spec, shape, classes)
    except (TypeError, ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise ModelError(
            f"{spec.name} cannot be built for images of {shape[1]}×{shape[2]} pixels: {error}",
            "another image size (dataset.image_size), or another model",
        ) from error


def _build(spec: LibraryModel, shape: Shape, classes: int) -> nn.Module:
    build = _build_torchvision if spec.library == "torchvision" else _build_timm
    try:
        return build(spec.entry, shape, classes)
    except (NotImplementedError, RuntimeError):
        if torch.get_default_device().type != "meta":
            raise
    # Some (torchvision's regnets) compute with tensors while they are built: those must be real.
    with torch.device("cpu"), weightless():
        return copy_to_meta(build(spec.entry, shape, classes))


@contextmanager
def weightless() -> Iterator[None]:
    """Parameters go to the meta device one by one as they are made, before they are initialised."""
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def require_known(spec: LibraryModel) -> None:
    """Raises ModelError, with near matches, for a name that the library does not have."""
    names = model_names(spec.library)
    architecture, _, tag = spec.entry.partition(".")
    if spec.library == "timm" and tag and architecture in names:
        _require_tag(architecture, tag)
    elif (spec.entry if spec.library == "torchvision" else architecture) not in names:
        near = difflib.get_close_matches(spec.entry, names, n=5)
        meant = f"one of {', '.join(f'{spec.library}:{name}' for name in near)}" if near else None
        raise ModelError(
            f"{spec.library} has no model {spec.entry!r}",
            meant or f"one of the {len(names)} names that {spec.library} lists",
        )


def _require_tag(architecture: str, tag: str) -> None:
    import timm

    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag not in tags:
        raise ModelError(
            f"timm has {architecture!r} but not its weights {tag!r}",
            f"timm:{architecture}: training starts from random weights anyway",
        )


def model_names(library: str) -> list[str]:
    """The names for image classification."""
    if library == "torchvision":
        with without_compiler():
            from torchvision import models

        return list(models.list_models(module=models))
    with without_compiler():
        import timm

    return list(timm.list_models())


def _build_torchvision(entry: str, shape: Shape, classes: int) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"weights": None, "num_classes": classes}
    if entry in _AUXILIARY:
        options |= {"aux_logits": False, "init_weights": True}
    size_argument = _SIZE_ARGUMENTS.get(entry.split("_", 1)[0])
    if size_argument == "image_size":
        _require_square(entry, shape)
        options["image_size"] = shape[1]
    elif size_argument == "input_size":
        options["input_size"] = shape[1:]
    model: nn.Module = models.get_model(entry, **options)
    if shape[0] != 3:
        _adapt_input(model, entry, shape[0])
    return model


def _require_square(entry: str, shape: Shape) -> None:
    if shape[1] != shape[2]:
        raise ModelError(
            f"{entry} takes square images only but they are {shape[1]}×{shape[2]}",
            "dataset.image_size",
            pointer="/dataset/image_size",
        )


def _adapt_input(model: nn.Module, entry: str, channels: int) -> None:
    """A first convolution for this number of channels, with weights of the spread that the old one had.

    Scaled so that its output keeps the variance it has for three channels.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            weight = module.weight
            out, _, height, width = weight.shape
            drawn = torch.randn(out, channels, height, width, device=weight.device)
            spread = weight.detach().std() * (3 / channels) ** 0.5
            module.weight = nn.Parameter(drawn * spread)
            module.in_channels = channels
            return
    raise ModelError(
        f"{entry} has no convolution of three channels to adapt to {channels}",
        "a timm model, or images in colour",
    )


def _build_timm(entry: str, shape: Shape, classes: int) -> nn.Module:
    import timm

    options: dict[str, Any] = {"num_classes": classes, "in_chans": shape[0]}
    default = timm.models.get_pretrained_cfg(entry.split(".", 1)[0], allow_unregistered=True)
    if default is not None and default.fixed_input_size:
        options["img_size"] = shape[1:]
    model: nn.Module = timm.create_model(entry, pretrained=False, **options)
    return model
