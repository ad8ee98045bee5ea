"""Every entry of the catalogue trains, resumes exactly, and leaves the shared streams alone."""

import hashlib
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from catalogue import BASE, CATALOGUE, SECTIONS
from trainings import last_of, load_data, outcome, run, run_until

import trainer.run
from trainer.data import load
from trainer.events import CheckpointSaved, Diagnosed, Started, Stepped
from trainer.models import build_model
from trainer.order import Order
from trainer.spec import JobSpec
from trainer.spec.builtin import BUILT_IN
from trainer.streams import seed_globals


def make_job(name: str, **changes: Any) -> JobSpec:
    return JobSpec.model_validate({**CATALOGUE[name], **changes})


def together(before: list[Any], after: list[Any]) -> list[Any]:
    assert isinstance(after[0], Started)
    return [*before, *after[1:]]


def moments(events: list[Any]) -> tuple[Stepped, Stepped]:
    """In the middle of the second period, and at the end of the training, which may be one step."""
    steps = [one for one in events if isinstance(one, Stepped)]
    assert len(steps) >= 3 or len(steps) == 1
    return steps[len(steps) // 2], steps[-1]


@pytest.mark.parametrize("name", CATALOGUE)
def test_resuming_equals_no_interruption(name, tmp_path):
    spec = make_job(name)
    whole = run(spec, tmp_path / "whole" / "attempt-1")
    for number, moment in enumerate(moments(whole)):
        job = tmp_path / f"stopped-{number}"
        before, after = run_until(moment, spec, job / "attempt-1")
        assert isinstance(after[0], CheckpointSaved)
        # Another process goes on: its generators are anywhere.
        seed_globals("elsewhere", number)
        resumed = run(spec, job / "attempt-2", [last_of(after)])
        assert resumed[0].first_step == moment.step > 0
        assert resumed[0].warnings == ()
        assert outcome(together(before, resumed)) == outcome(whole)


@pytest.fixture
def seen(monkeypatch):
    """Digests of the batches of a training, and of its augmented ones, in order."""
    digests: dict[str, list[str]] = {"order": [], "augmented": []}

    def digest(tensor: torch.Tensor) -> str:
        return hashlib.blake2b(tensor.numpy().tobytes()).hexdigest()

    indices, build = Order.indices, trainer.run.build_augmentation

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

    monkeypatch.setattr(Order, "indices", seen_indices)
    monkeypatch.setattr(trainer.run, "build_augmentation", seen_build)
    return digests


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


@pytest.mark.parametrize("name", PAIRED)
def test_presence_changes_neither_order_nor_split_nor_augmentation(name, seen, tmp_path):
    spec, plain = make_job(name, **ROTATED), without(name)
    found = []
    for number, one in enumerate((spec, plain)):
        run(one, tmp_path / str(number) / "attempt-1")
        found.append({kind: list(digests) for kind, digests in seen.items()})
        for digests in seen.values():
            digests.clear()
    assert found[0] == found[1]
    assert len(found[0]["order"]) == len(found[0]["augmented"]) == 4
    first, second = (split(one, tmp_path, chance) for chance, one in enumerate((spec, plain)))
    assert all(map(torch.equal, first, second))


def split(spec: JobSpec, folder: Path, chance: int) -> list[torch.Tensor]:
    """Images and labels of the three parts, cut anew beside other chance."""
    torch.manual_seed(chance)
    numpy.random.seed(chance)
    data = load(spec.dataset, BUILT_IN[spec.dataset.name], folder / "datasets")
    parts = (data.train, data.val, data.test)
    return [one for part in parts for one in (part.images, part.labels)]


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
