"""bfloat16: where it is used, what stays float32, and where there is none."""

import copy

import pytest
import torch
from torch import nn

from tests.support.catalogue import CATALOGUE, NORMS
from tests.support.trainings import load_data
from trainer.errors import MachineError
from trainer.models.build import build_model
from trainer.spec.job import JobSpec
from trainer.surgery import find_sites
from trainer.training.precision import use_bfloat16

CPU = torch.device("cpu")


def build(name: str) -> nn.Module:
    """Of the catalogue, on digits; in bfloat16."""
    spec = JobSpec.model_validate(CATALOGUE[name])
    model = build_model(spec, load_data(spec).info)
    use_bfloat16(model, CPU)
    return model


def build_plain(name: str) -> nn.Module:
    spec = JobSpec.model_validate(CATALOGUE[name])
    return build_model(spec, load_data(spec).info)


def seen_types(model: nn.Module, images: torch.Tensor) -> dict[str, set[torch.dtype]]:
    """What each module gives and norms are computed in, by the module's name."""
    types: dict[str, set[torch.dtype]] = {}

    def see(name):
        def hook(module, inputs, output):
            types.setdefault(name, set()).add(output.dtype)

        return hook

    for name, module in model.named_modules():
        if name and not isinstance(module, nn.utils.parametrize.ParametrizationList):
            module.register_forward_hook(see(name))
    model(images)
    return types


def images(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("norm", NORMS)
def test_convolutions_multiply_in_bfloat16_and_norms_stay_float32(norm):
    model = build(f"norms/{norm}").train()
    before = copy.deepcopy(model)
    types = seen_types(model, images())
    assert {types[f"conv{number}"].pop() for number in (1, 2, 3)} == {torch.bfloat16}
    assert {types[name].pop() for name in find_sites(model)} == {torch.float32}
    assert {one.dtype for one in model.state_dict().values()} <= {torch.float32, torch.int64}
    # Bit for bit what the norm alone makes of it in float32.
    name, (layer, _) = next(iter(find_sites(before).items()))
    plain = find_sites(build_plain(f"norms/{norm}"))[name][0].train()
    x = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(5)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        normalized = layer(x)
    assert torch.equal(normalized, plain(x.float()))
    assert all(map(torch.equal, layer.buffers(), plain.buffers()))


@pytest.mark.parametrize(
    "weights", ["standardization", "scaled_standardization", "weight_norm", "spectral"]
)
def test_what_acts_on_weights_stays_float32(weights):
    model, plain = build(f"weights/{weights}"), build_plain(f"weights/{weights}")
    with torch.autocast("cpu", torch.bfloat16):
        weight = model.get_submodule("conv2").weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, plain.get_submodule("conv2").weight)


@pytest.mark.parametrize("name", ["models/cnn", "models/vit_small", "weights/spectral"])
def test_the_state_dict_and_the_names_of_modules_stay(name):
    model, plain = build(name), build_plain(name)
    ours, theirs = model.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs)
    assert all(map(torch.equal, ours.values(), theirs.values()))
    kinds = [type(one) for one in model.modules()], [type(one) for one in plain.modules()]
    names = [[(kind.__module__, kind.__qualname__) for kind in some] for some in kinds]
    assert names[0] == names[1]


def test_outputs_are_float32_and_those_of_a_copy_are_its_own():
    model = build("models/cnn").eval()
    outputs, x = model(images()), images()
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, outputs)
    plain = build_plain("models/cnn").eval()
    assert not torch.equal(outputs, plain(x))
    assert torch.allclose(outputs, plain(x), rtol=0.05, atol=0.05)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(other(x), torch.zeros_like(outputs))
    assert torch.equal(model(x), outputs)


def test_a_gpu_without_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(MachineError, match=r"Tesla T4 has no bfloat16.* 8\.0 .*float32"):
        use_bfloat16(build_plain("models/cnn"), torch.device("cuda"))
