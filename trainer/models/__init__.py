"""Our networks and the libraries': from a spec to a built model."""

from trainer.models.build import (
    build_bare_model,
    build_model,
    build_with_report,
    count_parameters,
    input_shape,
)
from trainer.models.cnn_mlp_resnet import Shape
from trainer.models.library import model_names, require_known, weightless
from trainer.models.library_imports import import_from_timm
from trainer.models.parameters import head_parameters, hidden_matrices, split_parameters
from trainer.models.plugin import load_model_function
from trainer.models.transfer import find_misfits, transfer
from trainer.models.zero_gains import ZeroFills

__all__ = [
    "Shape",
    "ZeroFills",
    "build_bare_model",
    "build_model",
    "build_with_report",
    "count_parameters",
    "find_misfits",
    "head_parameters",
    "hidden_matrices",
    "import_from_timm",
    "input_shape",
    "load_model_function",
    "model_names",
    "require_known",
    "split_parameters",
    "transfer",
    "weightless",
]
