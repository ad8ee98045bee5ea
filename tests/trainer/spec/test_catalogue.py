"""The table of examples and the unions of the spec name the same alternatives."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import pytest

from tests.support.catalogue import BASE, CATALOGUE, SECTIONS
from trainer import spec as words
from trainer.checks.run import check
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec
from trainer.spec.model import PluginModel

UNIONS: dict[str, Any] = {
    "norms": words.NormSpec,
    "weights": words.WeightsSpec,
    "regularizers": words.RegularizerSpec,
    "augmentations": words.AugmentationSpec,
    "models": words.ModelSpec,
    "tasks": words.TaskSpec,
    "initializations": words.InitSpec,
    "optimizers": words.OptimizerSpec,
    "schedules": words.ScheduleSpec,
    "early_stopping": words.StoppingSpec,
    "diagnostics": words.DiagnosticsSpec,
}


def kinds(union: Any) -> Iterator[str]:
    if get_origin(union) in (Annotated, Union, types.UnionType):
        parts = get_args(union)
        for part in parts[:1] if get_origin(union) is Annotated else parts:
            yield from kinds(part)
    else:
        fields = union.model_fields
        field = fields["kind"] if "kind" in fields else fields["name"]
        # A model of a package of plugins has no example without that package.
        if union is not PluginModel:
            yield (get_args(field.annotation) or ("library",))[0]


@pytest.mark.parametrize("section", UNIONS)
def test_every_alternative_has_an_example_and_every_example_an_alternative(section):
    assert {name.split("-")[0] for name in SECTIONS[section]} == set(kinds(UNIONS[section]))


def test_every_drawn_dataset_has_an_example():
    datasets = {JobSpec.model_validate(job).dataset.name for job in CATALOGUE.values()}
    assert datasets == set(BUILT_IN)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_example_passes_the_check(name):
    spec = JobSpec.model_validate(CATALOGUE[name])
    assert check(spec, BUILT_IN[spec.dataset.name]).problems == ()


def test_an_example_says_only_what_differs():
    for section, jobs in SECTIONS.items():
        for name, job in jobs.items():
            assert {**BASE, **job} == CATALOGUE[f"{section}/{name}"]
