"""Where things are dropped in whole models, and that nothing else of the model changes by it."""

import copy
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import nn

from tests.support.model_cache import built_once
from tests.support.trainer_specs import DIGITS, make_info, make_spec
from tests.support.trainings import run
from trainer.errors import ModelError
from trainer.layers.dropout import (
    BlockDropout,
    BranchDropout,
    drop_probability,
    drops,
    has_ramp,
    start_dropping,
)
from trainer.models.build import build_model, build_with_report
from trainer.surgery.remembered_shapes import on_meta

COLOUR = make_info(shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
RESNET = {"name": "resnet20", "width": 4}

DROPS = {
    "dropout": {"kind": "dropout", "p": 0.4},
    "dropout of the head": {"kind": "dropout", "p": 0.4, "where": "head"},
    "dropout of the input": {"kind": "dropout", "p": 0.0, "input_p": 0.4},
    "spatial_dropout": {"kind": "spatial_dropout", "p": 0.4},
    "drop_connect": {"kind": "drop_connect", "p": 0.4},
    "drop_block": {"kind": "drop_block", "p": 0.4, "block_size": 3},
    "drop_block with a ramp": {"kind": "drop_block", "p": 0.4, "block_size": 2, "ramp": True},
    "stochastic_depth": {"kind": "stochastic_depth", "p": 0.4},
    "stochastic_depth per batch": {"kind": "stochastic_depth", "p": 0.4, "per": "batch"},
}
every_drop = pytest.mark.parametrize("drop", DROPS)


@pytest.fixture(autouse=True)
def _built_once() -> Iterator[None]:
    """The same model drops in one way after the other."""
    with built_once():
        yield


def build(model, *drop, norm="group", info=DIGITS, **rest):
    return build_model(make_spec(model, norm, regularization=list(drop), **rest), info)


def found(model):
    """Probabilities of what drops, by name."""
    return {n: drop_probability(m) for n, m in model.named_modules() if drops(m)}


def digits(samples=4):
    return torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@cache
def plain_resnet():
    return build(RESNET).eval()


@cache
def dropping_resnet(kind):
    """Built once for all tests, which leave it as it is."""
    return build(RESNET, DROPS[kind]).eval()


@every_drop
def test_what_drops_changes_neither_names_nor_values_nor_the_global_generator(drop):
    before = torch.get_rng_state()
    plain, dropping = plain_resnet().state_dict(), build(RESNET, DROPS[drop]).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert dropping.keys() == plain.keys()
    assert all(torch.equal(value, plain[name]) for name, value in dropping.items())


@every_drop
def test_a_model_that_drops_is_the_plain_one_in_evaluation(drop):
    assert torch.equal(dropping_resnet(drop)(digits()), plain_resnet()(digits()))


@every_drop
def test_a_model_that_drops_does_so_in_training_and_when_told_to(drop):
    trained, told = (copy.deepcopy(dropping_resnet(drop)) for _ in range(2))
    for model in (trained.train(), told):
        start_dropping(model)
        outputs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            outputs.append(model(digits()))
        assert torch.equal(outputs[0], outputs[1])
        assert not torch.equal(outputs[0], outputs[2])
        assert not torch.equal(outputs[0], plain_resnet()(digits()))


@every_drop
def test_gradients_reach_every_parameter_beside_what_drops(drop):
    model = copy.deepcopy(dropping_resnet(drop)).double().train()
    torch.manual_seed(0)
    for _ in range(8):
        model(digits(16).double()).square().sum().backward()
    assert all(one.grad.isfinite().all() and one.grad.any() for one in model.parameters())


@every_drop
def test_the_state_goes_round_into_another_copy(drop):
    model, other = dropping_resnet(drop), copy.deepcopy(dropping_resnet(drop))
    for parameter in other.parameters():
        parameter.data.add_(1.0)
    assert not torch.equal(model(digits()), other(digits()))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(digits()), other(digits()))


EVERYWHERE = [
    {"kind": "dropout", "p": 0.4, "input_p": 0.4},
    *(DROPS[kind] for kind in ("spatial_dropout", "drop_connect", "drop_block with a ramp")),
]


# Twenty layers take a second to export, and only branches need them.
@pytest.mark.parametrize(
    ("model", "parts"),
    [({"name": "cnn", "width": 4}, EVERYWHERE), (RESNET, [DROPS["stochastic_depth"]])],
    ids=["layers", "branches"],
)
def test_what_drops_can_be_exported(model, parts):
    dropping = build(model, *parts).eval()
    sizes = ({0: torch.export.Dim("batch", min=2)},)
    with torch.no_grad():
        exported = torch.export.export(dropping, (digits(),), dynamic_shapes=sizes).module()
        assert torch.allclose(exported(digits(7)), dropping(digits(7)), atol=1e-6)


def test_the_input_is_dropped_first_in_a_model_of_either_make():
    own = build("cnn", DROPS["dropout of the input"])
    assert next(iter(dict(own.named_children()))) == "input_dropout"
    library = build("timm:resnet18", DROPS["dropout of the input"], info=COLOUR)
    assert found(own) == found(library) == {"input_dropout": 0.4}
    start_dropping(library.eval())
    seen = []
    library.conv1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    library(torch.ones(2, 3, 32, 32))
    assert 0.5 < (seen[0] != 0).float().mean() < 0.7


def test_input_dropout_can_stand_beside_hidden_dropout():
    drop = {"kind": "dropout", "p": 0.5, "input_p": 0.2}
    assert found(build("mlp", drop)) == {
        "input_dropout": 0.2,
        "dropout1": 0.5,
        "dropout2": 0.5,
        "dropout3": 0.5,
    }


def test_several_drop_at_one_place_in_the_order_of_the_spec():
    drop = [DROPS["drop_block"], DROPS["spatial_dropout"], DROPS["dropout"]]
    for order in (drop, drop[::-1]):
        kinds = [type(layer) for layer in build("cnn", *order).dropout1]
        expected = [BlockDropout, nn.Dropout2d, nn.Dropout]
        assert kinds == (expected if order is drop else expected[::-1])


def test_drop_connect_spares_the_last_layer():
    names = found(build({"name": "cnn", "width": 4}, DROPS["drop_connect"]))
    assert list(names) == ["conv1", "conv2", "conv3"]


def test_drop_connect_tells_of_layers_whose_weights_attention_reads():
    spec = make_spec("torchvision:swin_t", "layer", regularization=[DROPS["drop_connect"]])
    with on_meta():
        model, report = build_with_report(spec, COLOUR)
    connected = [name for name in found(model) if "stochastic_depth" not in name]
    assert "features.1.0.mlp.0" in connected
    assert "features.1.0.attn.qkv" not in connected
    assert any("features.1.0.attn.qkv" in note for note in report.notes)


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_branches_are_skipped_by_the_linear_rule(per):
    model = build(RESNET, {"kind": "stochastic_depth", "p": 0.45, "per": per})
    probabilities = [m.p for m in model.modules() if isinstance(m, BranchDropout) and m.per == per]
    assert probabilities == pytest.approx([0.05 * number for number in range(1, 10)])


@pytest.mark.parametrize(
    ("name", "norm", "branches", "first"),
    [
        ("torchvision:swin_t", "layer", 12, "features.1.0.stochastic_depth"),
        # Of its sixteen blocks nine have a shortcut.
        ("torchvision:efficientnet_b0", "batch", 9, "features.2.1.stochastic_depth"),
        ("timm:resnet18", "batch", 8, "layer1.0.drop_path"),
        ("timm:convnext_atto", "layer", 12, "stages.0.blocks.0.drop_path"),
    ],
)
def test_residual_models_of_the_libraries_skip_their_own_branches(name, norm, branches, first):
    with on_meta():
        model = build(name, DROPS["stochastic_depth"], norm=norm, info=COLOUR)
    names = [n for n, m in model.named_modules() if isinstance(m, BranchDropout) and m.p]
    assert names[0] == first
    assert len(names) == branches
    assert model.get_submodule(names[0]).p == pytest.approx(0.4 / branches)
    assert model.get_submodule(names[-1]).p == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("name", "drop"),
    [
        ("timm:resnet18", "dropout of the head"),
        ("torchvision:mobilenet_v3_small", "dropout of the input"),
        ("timm:resnet18", "drop_connect"),
    ],
)
def test_library_models_keep_names_values_and_function(name, drop):
    plain = build(name, norm="batch", info=COLOUR).eval()
    dropping = build(name, DROPS[drop], norm="batch", info=COLOUR).eval()
    assert dropping.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(dropping(x), plain(x))


@pytest.mark.parametrize("drop", ["spatial_dropout", "drop_block"])
def test_library_models_drop_parts_of_maps_behind_their_activations(drop):
    plain = build("torchvision:resnet18", norm="batch", info=COLOUR).eval()
    spec = make_spec("torchvision:resnet18", "batch", regularization=[DROPS[drop]])
    dropping, report = build_with_report(spec, COLOUR)
    # One layer for the stem and one a block, called twice in it; the last stage sees single pixels.
    assert len(found(dropping)) == 7
    assert isinstance(dropping.layer1[0].relu[0], nn.ReLU)
    assert any("these activations: relu, layer1.0.relu" in note for note in report.notes)
    assert dropping.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(dropping.eval()(x), plain(x))
    start_dropping(dropping)
    assert not torch.equal(dropping(x), dropping(x))


def test_gates_and_tokens_of_library_models_are_not_dropped():
    with on_meta():
        names = found(
            build(
                "torchvision:mobilenet_v3_small",
                DROPS["spatial_dropout"],
                info=COLOUR,
                norm="batch",
            )
        )
    gates = [name for name in names if "block.1.activation" in name or "scale_activation" in name]
    assert gates == []
    assert any(name.startswith("features.0.2") for name in names)


def test_only_a_ramped_block_makes_a_model_ramped():
    assert has_ramp(build("cnn", DROPS["drop_block with a ramp"]))
    assert not has_ramp(build("cnn", DROPS["drop_block"], DROPS["dropout"]))


@pytest.mark.parametrize(
    ("model", "norm", "drop", "field", "layer", "remedy"),
    [
        ("mlp", "none", "spatial_dropout", "kind", "dropout1", "convolutional"),
        ("mlp", "none", "drop_block", "kind", "dropout1", "convolutional"),
        # Its activations are functions.
        ("torchvision:googlenet", "batch", "spatial_dropout", "kind", None, "convolutional"),
        # Its activations see channels last.
        (
            "torchvision:convnext_tiny",
            "layer",
            "drop_block",
            "kind",
            "features.1.0.block.4",
            "convolutional",
        ),
        ("cnn", "none", "stochastic_depth", "kind", None, "resnet20"),
        ("torchvision:vgg11", "none", "stochastic_depth", "kind", None, "resnet20"),
        ("torchvision:resnet18", "batch", "dropout", "where", None, "where: head"),
        ("torchvision:squeezenet1_1", "none", "dropout of the head", "where", None, "hidden"),
    ],
)
def test_what_has_no_place_in_a_model_is_refused_with_field_and_remedy(
    model, norm, drop, field, layer, remedy
):
    info = (
        DIGITS
        if ":" not in model
        else make_info(shape=(3, 64, 64), mean=(0.5,) * 3, std=(1.0,) * 3)
    )
    decay = {"kind": "weight_decay", "value": 0.1}
    with pytest.raises(ModelError) as error, on_meta():
        build(model, decay, DROPS[drop], norm=norm, info=info)
    assert error.value.pointer == f"/regularization/1/{field}"
    assert error.value.layer == layer
    assert remedy in error.value.remedy
    assert model in str(error.value)


def test_a_dropout_of_nothing_changes_nothing_anywhere():
    none = [
        {"kind": "dropout", "p": 0.0},
        {"kind": "spatial_dropout", "p": 0.0},
        {"kind": "drop_block", "p": 0.0},
    ]
    assert found(build("cnn", *none)) == {}
    with on_meta():
        assert found(build("torchvision:resnet18", none[0], info=COLOUR)) == {}


def test_a_training_drops_ever_larger_shares_along_a_ramp(monkeypatch, tmp_path):
    rates, forward = [], BlockDropout.forward

    def record(self, x):
        if self.training and x.device.type == "cpu" and x.shape[2] == 8:
            rates.append(self.rate.item())
        return forward(self, x)

    monkeypatch.setattr(BlockDropout, "forward", record)
    training = {"dataset": {"name": "digits", "train_size": 200}, "training": {"epochs": 2}}
    spec = make_spec("cnn", "group", regularization=[DROPS["drop_block with a ramp"]], **training)
    run(spec, tmp_path / "attempt-1")
    assert rates == pytest.approx([0.4 * step / 8 for step in range(8)])
