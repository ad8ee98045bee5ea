"""Every entry of the catalogue trains, resumes exactly, and leaves the shared streams alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
import pytest
import torch

import trainer.training.setup
from tests.support.catalogue import BASE, CATALOGUE, SECTIONS
from tests.support.trainings import (
    last_of,
    load_data,
    outcome,
    run,
    run_saving_often,
    together,
    until,
)
from trainer.data.loading import load
from trainer.events import CheckpointSaved, Diagnosed, Started, Stepped
from trainer.models.build import build_model
from trainer.random_streams import seed_globals
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec
from trainer.training.batch_order import BatchSampler


def make_job(name: str, **changes: Any) -> JobSpec:
    return JobSpec.model_validate({**CATALOGUE[name], **changes})


def middle(events: list[Any]) -> CheckpointSaved:
    """That of the second period's middle, or the last one of a training of one step."""
    steps = [one.step for one in events if isinstance(one, Stepped)]
    assert len(steps) >= 3 or len(steps) == 1
    step = steps[len(steps) // 2]
    return last_of([one for one in events if isinstance(one, CheckpointSaved) and one.step == step])


@pytest.mark.parametrize("name", CATALOGUE)
def test_resuming_equals_no_interruption(name, tmp_path):
    spec = make_job(name)
    whole = run_saving_often(spec, tmp_path / "attempt-1")
    saved = middle(whole)
    # Another process goes on: its generators are anywhere.
    seed_globals("elsewhere", 1)
    resumed = run(spec, tmp_path / "attempt-2", [saved])
    assert isinstance(resumed[0], Started)
    assert (resumed[0].first_step, resumed[0].warnings) == (saved.step, ())
    assert saved.step > 0
    assert outcome(together(until(saved, whole), resumed)) == outcome(whole)


@contextmanager
def watched() -> Iterator[dict[str, list[str]]]:
    """Digests of the batches of a training, and of its augmented ones, in order."""
    digests: dict[str, list[str]] = {"order": [], "augmented": []}

    def digest(tensor: torch.Tensor) -> str:
        return hashlib.blake2b(tensor.numpy().tobytes()).hexdigest()

    indices, build = BatchSampler.indices, trainer.training.setup.build_augmentation

    def seen_indices(self, step):
        found = indices(self, step)
        digests["order"].append(digest(found))
        return found

    def seen_build(specs):
        augment = build(specs)

        def seen_augment(images):
            augmented = augment(images)
            digests["augmented"].append(digest(augmented))
            return augmented

        return seen_augment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchSampler, "indices", seen_indices)
        patch.setattr(trainer.training.setup, "build_augmentation", seen_build)
        yield digests


SHORT = {"epochs": 1, "batch_size": 64}
ROTATED = {"training": SHORT, "augmentation": [{"kind": "rotate", "degrees": 15.0}]}
#: What may stand beside the same model without it: its presence must not move anything else.
PAIRED = [
    f"{section}/{name}"
    for section in ("norms", "weights", "regularizers", "diagnostics", "early_stopping")
    for name in SECTIONS[section]
]


def without(name: str) -> JobSpec:
    section = name.split("/")[0]
    plain = make_job(name, **ROTATED).model_dump(mode="json")
    field = {"norms": "norm", "weights": "weights", "regularizers": "regularization"}.get(section)
    if field is None:
        field = section
    neutral = {"norm": BASE["norm"], "weights": {"kind": "plain"}, "regularization": []}
    default = {"diagnostics": {"kind": "off"}, "early_stopping": {"kind": "none"}}
    return JobSpec.model_validate({**plain, field: (neutral | default)[field]})


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a training drew from the shared streams."""

    digests: dict[str, list[str]]
    parts: list[torch.Tensor]


def drawn(spec: JobSpec, folder: Path, chance: int) -> Drawn:
    """Of this training, and of its split, cut anew beside other chance."""
    with watched() as digests:
        run(spec, folder / "attempt-1")
    torch.manual_seed(chance)
    numpy.random.seed(chance)
    data = load(spec.dataset, BUILT_IN[spec.dataset.name], folder / "datasets")
    parts = (data.train, data.val, data.test)
    return Drawn(digests, [one for part in parts for one in (part.images, part.labels)])


@cache
def drawn_without(spec: JobSpec) -> Drawn:
    """Most entries stand beside the same training."""
    with TemporaryDirectory() as folder:
        return drawn(spec, Path(folder), 1)


@pytest.mark.parametrize("name", PAIRED)
def test_presence_changes_neither_order_nor_split_nor_augmentation(name, tmp_path):
    found = drawn(make_job(name, **ROTATED), tmp_path, 0)
    plain = drawn_without(without(name))
    assert found.digests == plain.digests
    assert len(found.digests["order"]) == len(found.digests["augmented"]) == 4
    assert all(map(torch.equal, found.parts, plain.parts))


@pytest.mark.parametrize("name", PAIRED)
def test_presence_changes_no_initial_weight_of_a_shared_layer(name):
    spec, plain = make_job(name), without(name)
    ours, theirs = (_weights(build_model(one, load_data(one).info)) for one in (spec, plain))
    assert len(theirs) >= 4
    assert all(torch.equal(value, ours[layer]) for layer, value in theirs.items())


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Of linear layers and convolutions, before what acts on weights."""
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            parametrized = getattr(layer, "parametrizations", None)
            if parametrized is None:
                found[name] = layer.weight.detach()
            else:
                originals = dict(parametrized.weight.named_parameters(recurse=False))
                found[name] = originals.get("original", originals.get("original1")).detach()
    return found


@pytest.mark.parametrize("name", [f"diagnostics/{one}" for one in ("epoch", "steps")])
@pytest.mark.parametrize("norm", ["batch", "none", "batch_renorm"])
def test_looking_inside_changes_nothing_of_the_training(name, norm, tmp_path):
    entry = SECTIONS["norms"][norm]
    dropout = {"regularization": [{"kind": "dropout", "p": 0.2}]}
    looked = run(make_job(name, **entry, **dropout), tmp_path / "a" / "attempt-1")
    plain = run(
        make_job(name, **entry, **dropout, diagnostics={"kind": "off"}),
        tmp_path / "b" / "attempt-1",
    )
    assert any(isinstance(one, Diagnosed) for one in looked)
    assert not any(isinstance(one, Diagnosed) for one in plain)
    assert outcome(looked) == outcome(plain)


#: Statistics of one sample only, or none: a batch may be taken in parts.
PER_SAMPLE = ("none", "layer", "layer-channels", "instance", "group", "rms", "lrn-channels")


@pytest.mark.parametrize("norm", PER_SAMPLE)
def test_accumulated_micro_batches_equal_the_full_batch(norm, tmp_path):
    finals = []
    for accumulate in (1, 4):
        spec = JobSpec.model_validate(
            {
                **BASE,
                **SECTIONS["norms"][norm],
                "optimizer": {"kind": "sgd", "lr": 0.01},
                "training": {"epochs": 1, "batch_size": 64, "accumulate": accumulate},
            }
        )
        events = run(spec, tmp_path / str(accumulate) / "attempt-1")
        state = torch.load(last_of(events).path, weights_only=True)["state"]["model"]
        finals.append(torch.cat([value.flatten() for value in state.values()]))
    assert not torch.equal(*finals)
    assert torch.allclose(*finals, rtol=0, atol=1e-6)
