"""Specs and datasets in few words, for the tests of the trainer."""

from typing import Any

import torch

from tests.support.catalogue import NORMS
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetInfo
from trainer.spec.job import JobSpec

# The models are tiny: a second thread costs more than it gives, above all beside other tests.
torch.set_num_threads(1)

DIGITS = BUILT_IN["digits"]


def make_spec(model: str | dict[str, Any] = "cnn", norm: Any = "batch", **rest: Any) -> JobSpec:
    """`norm` is a name of NORMS or a document; the dataset is digits unless the rest says otherwise."""
    document = {
        "dataset": {"name": "digits"},
        "model": {"name": model} if isinstance(model, str) else model,
        "norm": NORMS[norm] if isinstance(norm, str) else norm,
        **rest,
    }
    return JobSpec.model_validate(document)


def make_info(**changed: Any) -> DatasetInfo:
    return DatasetInfo.model_validate({**DIGITS.model_dump(), **changed})
