"""Which parameters are weights, biases and of norms, in our models and in the libraries'."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tests.support.catalogue import NORMS
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.models.build import build_model
from trainer.models.parameters import head_parameters, hidden_matrices, split_parameters


def names_of(model):
    """The names of each part, by part."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    parts = split_parameters(model)
    return {
        part: [names[one] for one in getattr(parts, part)]
        for part in ("weights", "biases", "norms")
    }


@pytest.mark.parametrize("model", ["cnn", "resnet20"])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_our_networks_part_into_weights_biases_and_norms(model, norm):
    parts = names_of(build_model(make_spec(model, norm), DIGITS))
    assert all(name.endswith("weight") and "norm" not in name for name in parts["weights"])
    assert all(name.endswith("bias") and "norm" not in name for name in parts["biases"])
    assert all("norm" in name for name in parts["norms"])
    assert "classifier.weight" in parts["weights"]
    assert "classifier.bias" in parts["biases"]
    assert bool(parts["norms"]) == (norm["kind"] not in ("none", "lrn"))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm([4, 6, 6]),
        nn.RMSNorm([4, 6, 6]),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_no_parameter_of_a_norm_is_a_weight(norm):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), norm)
    parts = names_of(model)
    assert parts["weights"] == ["0.weight"]
    assert parts["biases"] == ["0.bias"]
    assert len(parts["norms"]) == len(list(norm.parameters()))


def test_norms_of_timm_that_inherit_from_no_norm_are_found():
    from timm.layers import EvoNorm2dB0, FilterResponseNormTlu2d, RmsNorm2d

    model = nn.Sequential(RmsNorm2d(4), FilterResponseNormTlu2d(4), EvoNorm2dB0(4))
    parts = split_parameters(model)
    assert len(parts.norms) == len(list(model.parameters()))


def test_a_weight_with_as_few_values_as_a_gain_is_a_weight():
    model = nn.Sequential(nn.Linear(1, 5), nn.Conv2d(5, 5, 1, groups=5))
    assert names_of(model)["weights"] == ["0.weight", "1.weight"]


def test_a_bias_table_is_no_weight_and_tied_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
            self.one = nn.Linear(3, 3, bias=False)
            self.two = nn.Linear(3, 3, bias=False)
            self.two.weight = self.one.weight

    parts = split_parameters(Tied())
    assert [len(parts.weights), len(parts.biases), len(parts.norms)] == [1, 1, 0]


def test_positions_and_tokens_are_added_and_scales_belong_to_norms():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos = nn.Parameter(torch.zeros(1, 9, 4))
            self.positions = nn.Parameter(torch.zeros(1, 9, 4))
            self.class_token = nn.Parameter(torch.zeros(1, 1, 4))
            self.layer_scale = nn.Parameter(torch.ones(4, 1, 1))
            self.temperature = nn.Parameter(torch.ones(()))
            self.mixing = nn.Parameter(torch.ones(4, 4))
            self.table = nn.Embedding(9, 4)

    assert names_of(Odd()) == {
        "weights": ["mixing"],
        "biases": ["pos", "positions", "class_token", "table.weight"],
        "norms": ["layer_scale", "temperature"],
    }


def test_an_attention_has_weights_and_biases():
    parts = names_of(nn.MultiheadAttention(4, 2, add_bias_kv=True))
    assert parts["weights"] == ["in_proj_weight", "out_proj.weight"]
    assert parts["biases"] == ["in_proj_bias", "bias_k", "bias_v", "out_proj.bias"]


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), nn.Conv2d(3, 4, 3)], ids=["linear", "conv"])
def test_parametrized_weights_stay_weights_and_the_gain_of_weight_norm_is_of_a_norm(layer):
    plain = parametrizations.spectral_norm(layer)
    assert names_of(plain) == {
        "weights": ["parametrizations.weight.original"],
        "biases": ["bias"],
        "norms": [],
    }
    split = parametrizations.weight_norm(nn.Linear(3, 4))
    assert names_of(split) == {
        "weights": ["parametrizations.weight.original1"],
        "biases": ["bias"],
        "norms": ["parametrizations.weight.original0"],
    }


@pytest.mark.parametrize(
    ("name", "biases", "norms"),
    [
        ("torchvision:convnext_tiny", [], ["features.1.0.layer_scale"]),
        ("torchvision:vit_b_16", ["class_token", "encoder.pos_embedding"], []),
        ("torchvision:swin_v2_t", [], ["features.1.0.attn.logit_scale"]),
        ("timm:nfnet_f0", [], ["stem.conv1.gain"]),
        ("timm:vit_tiny_patch16_224", ["cls_token", "pos_embed"], []),
        ("timm:convnextv2_atto", [], ["stages.0.blocks.0.mlp.grn.weight"]),
        ("timm:resmlp_12_224", ["blocks.0.norm1.beta"], ["blocks.0.ls1", "blocks.0.norm1.alpha"]),
        ("timm:levit_128s", ["stages.0.blocks.0.attn.attention_biases"], []),
        ("timm:xcit_nano_12_p16_224", ["cls_token"], ["blocks.0.attn.temperature"]),
    ],
)
def test_what_library_models_add_or_scale_by_is_no_weight(name, biases, norms):
    library, _, entry = name.partition(":")
    with torch.device("meta"):
        model = _build(library, entry)
    parts = names_of(model)
    assert set(biases) <= set(parts["biases"])
    assert set(norms) <= set(parts["norms"])
    assert all(one.endswith("weight") for one in parts["weights"])
    spared = getattr(model, "no_weight_decay", lambda: ())()
    assert not set(spared) & set(parts["weights"])
    assert sum(map(len, parts.values())) == len(list(model.parameters()))


def _build(library, entry):
    if library == "timm":
        import timm

        return timm.create_model(entry, pretrained=False)
    from torchvision import models

    return models.get_model(entry, weights=None)


@pytest.mark.parametrize(
    ("model", "head"),
    [
        ("cnn", "classifier."),
        ("autoencoder", "decoder."),
        ("torchvision:squeezenet1_1", "classifier.1."),
        ("timm:resnet18", "fc."),
    ],
)
def test_the_head_is_the_layer_that_gives_the_outputs(model, head):
    task = {"task": {"kind": "reconstruction"}} if model == "autoencoder" else {}
    spec = make_spec(model, "none", dataset={"name": "digits", "image_size": 64}, **task)
    built = build_model(spec, DIGITS)
    names = {parameter: name for name, parameter in built.named_parameters()}
    assert {names[one] for one in head_parameters(built)} == {f"{head}weight", f"{head}bias"}


def test_hidden_matrices_are_no_head_no_filters_beside_each_other_and_nothing_that_is_added():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 6, 1),
        nn.BatchNorm2d(6),
        nn.Linear(6, 5),
        nn.Linear(5, 3),
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [names[one] for one in hidden_matrices(model)] == ["2.weight", "4.weight"]


def test_hidden_matrices_are_found_under_what_acts_on_weights():
    spec = make_spec("cnn", "batch", weights={"kind": "weight_norm"})
    model = build_model(spec, DIGITS)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [names[one] for one in hidden_matrices(model)] == [
        f"conv{number}.parametrizations.weight.original1" for number in (2, 3)
    ]
