"""Looks inside a network: every statistic against numpy, when they are taken, and that nothing moves."""

import numpy
import pytest
import torch
from torch import nn

from studies.figures import diagnostics as reading
from tests.support.trainings import load_data, make_spec, run
from trainer.data.batches import Examples, Standardize
from trainer.errors import ModelError
from trainer.evaluation.losses import build_task
from trainer.evaluation.probe import build_probe, choose_layers
from trainer.events import Diagnosed
from trainer.models.build import build_model
from trainer.spec.job import Numerics
from trainer.spec.recorded import NETWORK, PERCENTILES
from trainer.surgery.build_norm import find_sites

CPU = torch.device("cpu")


def set_up(norm="batch", *, total_steps=12, period_steps=4, model=None, **changes):
    """A spec, its model after one backward pass, and a probe of it."""
    norm = {"kind": norm} if isinstance(norm, str) else norm
    diagnostics = {"kind": "epoch", "samples": 40, **changes}
    spec = make_spec(norm=norm, diagnostics=diagnostics, **(model or {}))
    data = load_data(spec)
    built, task = build_model(spec, data.info), build_task(spec)
    examples, standardize = Examples.of(data.train, CPU), Standardize(data.info, Numerics(), CPU)
    probe = build_probe(spec, built, examples, standardize, task, total_steps, period_steps)
    pixels, labels = examples.take(torch.arange(64))
    task.loss(task.predictions(built(standardize(pixels))), labels).backward()
    return spec, built, probe


def look(norm="batch", **changes):
    _, built, probe = set_up(norm, **changes)
    return built, probe, probe.measure(4, 1, 0.05).layers


@pytest.mark.parametrize("norm", ["batch", "none", "layer", {"kind": "group", "groups": 2}])
def test_distributions_before_and_after_a_norm_are_those_of_numpy(norm):
    built, probe, layers = look(norm)
    built.train()
    before = built.conv1(probe._inputs)
    after = built.norm1(before)
    for prefix, tensor in (("before", before), ("after", after)):
        values = tensor.detach().double().numpy()
        found = layers["norm1"]
        assert found[f"{prefix}_mean"] == pytest.approx(values.mean(), abs=1e-5)
        assert found[f"{prefix}_std"] == pytest.approx(values.std(), rel=1e-4)
        quarters = [part.mean() for part in numpy.array_split(values, 4)]
        drift = numpy.std(quarters) / values.std()
        assert found[f"{prefix}_drift"] == pytest.approx(drift, rel=1e-3, abs=1e-5)
        for percent in PERCENTILES:
            expected = numpy.percentile(values, percent)
            assert found[f"{prefix}_p{percent}"] == pytest.approx(expected, abs=0.2 * values.std())
    outputs = after.detach().numpy()
    assert layers["norm1"]["sparsity"] == pytest.approx((outputs <= 0).mean(), abs=1e-6)
    dead = (outputs.max((0, 2, 3)) <= 0).mean()
    assert layers["norm1"]["dead"] == pytest.approx(dead)


def test_what_is_measured_has_the_names_by_which_it_is_read():
    _, _, layers = look("batch")
    sides = {
        f"{side}_{what}"
        for side in ("before", "after")
        for what in ("mean", "std", "p1", "p15", "p50", "p85", "p99", "drift")
    }
    assert set(layers["norm1"]) == {
        *sides, "dead", "sparsity", "statistics_gap", "variance_ratio",
    }  # fmt: skip
    assert set(layers["conv1"]) == {
        "weight_norm", "weight_sparsity", "gradient_norm", "effective_learning_rate",
    }  # fmt: skip
    assert set(layers[NETWORK]) == {
        "train_loss", "eval_loss", "loss_gap", "weight_norm", "gradient_norm",
    }  # fmt: skip
    assert (reading.NETWORK, reading.PERCENTILES) == (NETWORK, PERCENTILES)


def test_percentiles_of_few_values_are_exact():
    mlp = {"model": {"name": "mlp", "hidden": [16, 16]}}
    built, probe, layers = look("batch", model=mlp)
    built.train()
    values = built.linear1(probe._inputs.flatten(1)).detach().numpy()
    for percent in PERCENTILES:
        expected = numpy.percentile(values, percent)
        assert layers["norm1"][f"before_p{percent}"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_units_that_never_speak_are_dead():
    _, built, probe = set_up("batch")
    with torch.no_grad():
        built.norm2.bias[:2] = -100.0
    layers = probe.measure(4, 1, 0.05).layers
    assert layers["norm2"]["dead"] == 2 / 8
    assert layers["norm1"]["dead"] == 0


def test_the_gap_is_that_between_the_batch_and_the_running_statistics():
    _, built, probe = set_up("batch")
    with torch.no_grad():
        built.norm1.running_mean.fill_(1.0)
        built.norm1.running_var.fill_(4.0)
    layers = probe.measure(4, 1, 0.05).layers
    values = built.conv1(probe._inputs).detach().double().numpy()
    gap = (values.mean((0, 2, 3)) - 1.0) / 2.0
    found = layers["norm1"]
    assert found["statistics_gap"] == pytest.approx(numpy.sqrt((gap**2).mean()), rel=1e-4)
    assert found["variance_ratio"] == pytest.approx((values.var((0, 2, 3)) / 4).mean(), rel=1e-4)
    _, _, layers = look("layer")
    assert "statistics_gap" not in layers["norm1"]


def test_weights_and_gradients_are_measured_by_layer_and_over_all():
    built, _, layers = look("batch")
    for name in ("conv1", "conv3", "classifier"):
        layer = built.get_submodule(name)
        weight = layer.weight.detach().double().numpy()
        gradients = [one.grad.double().numpy().ravel() for one in layer.parameters()]
        found = layers[name]
        assert found["weight_norm"] == pytest.approx(numpy.linalg.norm(weight))
        assert found["effective_learning_rate"] == pytest.approx(0.05 / (weight**2).sum())
        assert found["weight_sparsity"] == pytest.approx((abs(weight) < 0.01).mean())
        norm = numpy.linalg.norm(numpy.concatenate(gradients))
        assert found["gradient_norm"] == pytest.approx(norm, rel=1e-6)
    everything = torch.cat([one.grad.double().flatten() for one in built.parameters()])
    assert layers[NETWORK]["gradient_norm"] == pytest.approx(float(everything.norm()))


def test_the_loss_gap_is_that_of_batch_statistics_and_dropping():
    built, probe, layers = look("batch")
    losses = {}
    for mode in (False, True):
        built.train(mode)
        outputs = built(probe._inputs)
        losses[mode] = nn.functional.cross_entropy(outputs, probe._targets).item()
    network = layers[NETWORK]
    assert network["train_loss"] == pytest.approx(losses[True], rel=1e-4)
    assert network["eval_loss"] == pytest.approx(losses[False], rel=1e-4)
    assert network["loss_gap"] == pytest.approx(losses[True] - losses[False], abs=1e-4)
    _, _, still = look("layer")
    assert still[NETWORK]["loss_gap"] == 0
    dropout = {"regularization": [{"kind": "dropout", "p": 0.5}]}
    _, _, dropped = look("layer", model=dropout)
    assert dropped[NETWORK]["loss_gap"] != 0


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"regularization": [{"kind": "drop_connect", "p": 0.3}]}},
        {"model": {"weights": {"kind": "spectral"}}},
        {},
    ],
    ids=["drop_connect", "spectral", "plain"],
)
@pytest.mark.parametrize("norm", ["batch", {"kind": "batch_renorm"}])
def test_a_look_leaves_buffers_modes_and_gradients(norm, changes):
    _, built, probe = set_up(norm, **changes)
    built.train()
    built.conv2.eval()
    state = {name: value.clone() for name, value in built.state_dict().items()}
    gradients = [one.grad.clone() for one in built.parameters() if one.grad is not None]
    modes = [module.training for module in built.modules()]
    first = probe.measure(4, 1, 0.05)
    assert all(torch.equal(value, state[name]) for name, value in built.state_dict().items())
    kept = [one.grad for one in built.parameters() if one.grad is not None]
    assert all(map(torch.equal, kept, gradients))
    assert [module.training for module in built.modules()] == modes
    assert not any(module._forward_hooks for module, _ in find_sites(built).values())
    assert probe.measure(4, 1, 0.05) == first


def test_looks_come_at_the_ends_of_periods_or_evenly_on_a_logarithmic_scale():
    _, _, probe = set_up(total_steps=10, period_steps=4)
    assert [step for step in range(12) if probe.is_due(step)] == [4, 8, 10]
    _, _, probe = set_up(total_steps=1000, kind="steps", points=4)
    assert [step for step in range(1100) if probe.is_due(step)] == [1, 10, 100, 1000]


def test_a_training_tells_what_it_saw(tmp_path):
    spec = make_spec(diagnostics={"kind": "epoch", "samples": 16, "layers": ["norm*"]})
    looks = [one for one in run(spec, tmp_path / "attempt-1") if isinstance(one, Diagnosed)]
    assert [(one.epoch, one.step) for one in looks] == [(1, 4), (2, 8), (3, 12)]
    for one in looks:
        assert set(one.layers) == {NETWORK, "norm1", "norm2", "norm3"}


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (None, {"norm1", "norm2", "norm3", "conv1", "conv2", "conv3", "classifier"}),
        (["conv*", "norm2"], {"conv1", "conv2", "conv3", "norm2"}),
        (["classifier"], {"classifier"}),
    ],
)
def test_layers_are_chosen_by_name_or_prefix(layers, found):
    spec, built, _ = set_up()
    assert choose_layers(built, spec.diagnostics.model_copy(update={"layers": layers})) == found


@pytest.mark.parametrize("unknown", ["nrom1", "bn*", "activation1"])
def test_an_unknown_layer_is_refused_with_near_names(unknown):
    spec, built, _ = set_up()
    wanted = spec.diagnostics.model_copy(update={"layers": ("conv1", unknown)})
    with pytest.raises(ModelError, match="has no norm, convolution or linear layer") as error:
        choose_layers(built, wanted)
    assert error.value.pointer == "/diagnostics/layers/1"
    assert error.value.remedy.startswith("one of ")


def test_without_diagnostics_there_is_no_probe():
    assert set_up(kind="epoch")[2] is not None
    spec = make_spec()
    data = load_data(spec)
    assert build_probe(spec, nn.Identity(), data.train, None, build_task(spec), 1, 1) is None
