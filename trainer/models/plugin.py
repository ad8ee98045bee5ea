"""Models of the installation's own packages: a function that gives a torch.nn.Module."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from trainer.errors import ModelError
from trainer.models.cnn_mlp_resnet import Shape
from trainer.models.library import weightless
from trainer.plugins import REMEDY, PluginError, explain_misfit, load_plugin
from trainer.spec import PluginModel
from trainer.surgery import copy_to_meta


def load_model_function(spec: PluginModel) -> Callable[..., Any]:
    """Raises ModelError where it cannot be used here, or not with these options."""
    try:
        function = load_plugin("model", spec.entry, spec.installed)
    except PluginError as error:
        raise ModelError(str(error), REMEDY) from error
    if (misfit := explain_misfit(function, (1, 1, 1), 1, **spec.options)) is not None:
        raise ModelError(
            f"{spec.name} cannot be called with a shape, the number of outputs and these options: {misfit}",
            "other options, or another model",
            pointer="/model/options",
        )
    return function


def build_plugin_model(spec: PluginModel, shape: Shape, outputs: int) -> nn.Module:
    """The function's module. Raises ModelError, also for whatever it raises."""
    function = load_model_function(spec)
    try:
        return _call(function, spec, shape, outputs)
    except (NotImplementedError, RuntimeError) as error:
        if torch.get_default_device().type != "meta":
            raise _describe(error, spec, shape) from error
    # It computes with tensors while it builds: those must be real.
    try:
        with torch.device("cpu"), weightless():
            return copy_to_meta(_call(function, spec, shape, outputs))
    except (NotImplementedError, RuntimeError) as error:
        raise _describe(error, spec, shape) from error


def _call(function: Callable[..., Any], spec: PluginModel, shape: Shape, outputs: int) -> nn.Module:
    try:
        model = function(shape, outputs, **spec.options)
    except (NotImplementedError, RuntimeError):
        raise
    except Exception as error:  # foreign code fails in every way
        raise _describe(error, spec, shape) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{spec.name} must give a torch.nn.Module but gave a {type(model).__name__}",
            "the function of its package",
        )
    if any(is_lazy(one) for one in (*model.parameters(), *model.buffers())):
        raise ModelError(
            f"{spec.name} has lazy layers, whose sizes are not known before an image has gone through",
            "layers with sizes in the function of its package: it is given the shape of the images",
        )
    return model


def _describe(error: Exception, spec: PluginModel, shape: Shape) -> ModelError:
    return ModelError(
        f"{spec.name} cannot be built for inputs of {'×'.join(map(str, shape))}: "
        f"{type(error).__name__}: {error}",
        "another image size (dataset.image_size), other options, or another model",
    )
