"""Puts norms, dropout and weight parametrizations into any model: trace, survey, replace."""

from trainer.surgery.build_norm import (
    Site,
    bare_norm,
    find_sites,
    group_field,
    uses_batch_statistics,
)
from trainer.surgery.notes import shorten
from trainer.surgery.place_dropout import place_dropout
from trainer.surgery.provenance import TensorMap
from trainer.surgery.remembered_shapes import on_meta
from trainer.surgery.replace_norms import (
    SurgeryReport,
    choose_sites,
    explain_misfit,
    put_norms,
    replace_norms,
)
from trainer.surgery.survey import NormSite, Survey, survey_norms
from trainer.surgery.tracing import SAMPLES, copy_to_meta, run_on_meta
from trainer.surgery.weight_parametrization import apply_weights

__all__ = [
    "SAMPLES",
    "NormSite",
    "Site",
    "SurgeryReport",
    "Survey",
    "TensorMap",
    "apply_weights",
    "bare_norm",
    "choose_sites",
    "copy_to_meta",
    "explain_misfit",
    "find_sites",
    "group_field",
    "on_meta",
    "place_dropout",
    "put_norms",
    "replace_norms",
    "run_on_meta",
    "shorten",
    "survey_norms",
    "uses_batch_statistics",
]
