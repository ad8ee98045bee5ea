"""A compiled model: how it is compiled, who calls it, and a machine that can't. What it trains is compared in
`test_every_entry.py`; here nothing is compiled."""

import subprocess
import sys

import pytest
import torch

from tests.support.trainings import last_of, make_spec, run
from trainer.errors import MachineError
from trainer.events import Started, Stepped

COMPILED = {"epochs": 2, "batch_size": 64, "compile": True}


@pytest.fixture
def calls(monkeypatch):
    """Of `torch.compile`: what it was given, then whether each call of what it gave was in training."""
    made = []

    def compile_nothing(model, **options):
        made.append(options)

        def forward(x):
            made.append(model.training)
            return model(x)

        return forward

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(torch.compiler, "reset", lambda: made.append("reset"))
    return made


def test_steps_and_validations_call_the_compiled_model_of_one_graph_for_each_shape(calls, tmp_path):
    events = run(make_spec(training=COMPILED), tmp_path / "attempt-1")
    period = [True] * 4 + [False]
    assert calls == ["reset", {"fullgraph": True, "dynamic": False}, *period, *period]
    assert isinstance(events[0], Started)
    assert events[0].environment["compiled"] == "True"


def test_a_checkpoint_of_a_compiled_model_is_one_of_the_model(calls, tmp_path):
    plain = run(make_spec(training=COMPILED | {"compile": False}), tmp_path / "a" / "attempt-1")
    compiled = run(make_spec(training=COMPILED), tmp_path / "b" / "attempt-1")
    ours, theirs = (
        torch.load(last_of(events).path, weights_only=True)["state"]["model"]
        for events in (compiled, plain)
    )
    assert list(ours) == list(theirs)
    assert len([one for one in compiled if isinstance(one, Stepped)]) == 8


def test_a_machine_without_a_compiler_is_refused_before_anything_is_computed(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "/nowhere/g++ -O2")
    with pytest.raises(MachineError, match=r"/nowhere/g\+\+ -O2 was not found.*compile: false"):
        run(make_spec(training=COMPILED), tmp_path / "attempt-1")


def test_what_a_spec_does_not_ask_for_is_not_imported():
    """The compiler takes 1.3 CPU seconds and 90 MB in every process that trains or checks, the libraries as much."""
    program = """
import sys, tempfile
from pathlib import Path
import trainer.models.build, trainer.data.loading
print([name for name in ("timm", "torchvision", "sklearn", "datasets") if name in sys.modules])
from tests.support.catalogue import CATALOGUE
from tests.support.trainings import make_spec, run
from trainer.checks.run import check
from trainer.models import model_names
from trainer.spec import BUILT_IN, JobSpec
model_names("timm"), model_names("torchvision")
for name in ("training/compile", "training/bf16"):
    spec = JobSpec.model_validate(CATALOGUE[name])
    assert not check(spec, BUILT_IN["digits"]).problems
decoupled = {"kind": "weight_decay", "value": 0.01, "mode": "decoupled"}
chosen = [make_spec(regularization=[decoupled])]
for name, job in CATALOGUE.items():
    if name.startswith(("norms/", "optimizers/", "models/")) or name == "training/bf16":
        chosen.append(JobSpec.model_validate(job))
for spec in chosen:
    short = {
        "training": spec.training.model_copy(update={"epochs": 1}),
        "dataset": spec.dataset.model_copy(update={"train_size": 64}),
    }
    with tempfile.TemporaryDirectory() as folder:
        run(spec.model_copy(update=short), Path(folder))
print("torch._dynamo" in sys.modules)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == ["[]", "False"]
