"""Surgery: every norm into every model, nothing else touched, what cannot be done refused by name."""

import copy
import re
from functools import cache

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.trainer_specs import DIGITS, NORMS, make_info, make_spec
from trainer.errors import SurgeryError
from trainer.layers.dropout import drops
from trainer.models.build import build_bare_model, build_model, build_with_report
from trainer.spec.job import JobSpec
from trainer.spec.layouts import find_gap
from trainer.surgery.build_norm import (
    ActivationThenNorm,
    bare_norm,
    find_sites,
    takes_activation,
    uses_batch_statistics,
)
from trainer.surgery.replace_norms import choose_sites, explain_misfit, replace_norms
from trainer.surgery.survey import Survey, survey_norms

OWN = (
    "mlp", "cnn", "resnet20", "alexnet_small", "inception_small", "vit_small", "autoencoder",
)  # fmt: skip


def colour(size):
    return make_info(name="colour", shape=(3, size, size), mean=(0.5,) * 3, std=(0.25,) * 3)


#: Library models of different families, the places for a norm in them, and their layouts of tokens.
LIBRARY = {
    "torchvision:alexnet": 5,
    "torchvision:vgg16": 13,
    "torchvision:squeezenet1_1": 25,
    "torchvision:vgg16_bn": 13,
    "torchvision:googlenet": 57,
    "torchvision:inception_v3": 94,
    "torchvision:resnet18": 20,
    "torchvision:resnet50": 53,
    "torchvision:mobilenet_v3_small": 34,
    "torchvision:densenet121": 121,
    "torchvision:convnext_tiny": 23,
    "torchvision:vit_b_16": 25,
    "torchvision:swin_t": 29,
    "timm:resnet18": 20,
    "timm:resnetv2_50": 49,
    "timm:convnext_atto": 17,
    "timm:efficientnet_b0": 49,
    "timm:regnetx_002": 0,
    "timm:mobilenetv3_small_050": 0,
    "timm:densenet121": 0,
    "timm:vit_tiny_patch16_224": 25,
    "timm:swin_tiny_patch4_window7_224": 29,
    "timm:mixer_s32_224": 0,
    "timm:darknet53": 0,
    "timm:ghostnet_100": 80,
    "timm:nf_resnet26": 0,
    "timm:poolformerv2_s12": 29,
    "timm:mobilevit_xxs": 53,
}
#: Small enough for real tensors, and the size of their images.
SMALL = {
    "torchvision:alexnet": 64,
    "torchvision:mobilenet_v3_small": 64,
    "torchvision:resnet18": 64,
    "timm:resnet18": 64,
    "timm:convnext_atto": 64,
    "timm:vit_tiny_patch16_224": 32,
}
#: `placement` and the removal of activations are tried on these beside our own.
_OWN_LAYOUTS = {"mlp": "N,C", "vit_small": "N,L,C", "autoencoder": "N,C"}


def with_norm(model, norm) -> JobSpec:
    options = {
        "mlp": {"hidden": [8, 8]},
        "cnn": {"width": 8},
        "resnet20": {"width": 8},
        "alexnet_small": {"width": 8},
        "inception_small": {"width": 8},
        "vit_small": {"patch": 4, "width": 16, "depth": 2, "heads": 2},
        "autoencoder": {"hidden": 16},
    }
    task = {"task": {"kind": "reconstruction"}} if model == "autoencoder" else {}
    return make_spec({"name": model, **options.get(model, {})}, norm, **task)


@cache
def own_survey(model) -> Survey:
    """Of the model with its own norms: the same whatever norm replaces them."""
    return survey_norms(build_bare_model(with_norm(model, "batch"), DIGITS), DIGITS.shape)


def library_info(model):
    return colour(299 if model == "torchvision:inception_v3" else 224)


@cache
def library_survey(model) -> Survey:
    """Likewise; a survey of the larger ones takes a second or more."""
    info = library_info(model)
    with torch.device("meta"):
        return survey_norms(build_bare_model(make_spec(model), info), info.shape)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", OWN)
def test_every_norm_goes_into_every_own_model_or_is_refused_by_layer(model, norm):
    spec = with_norm(model, norm)
    gap = find_gap(spec.norm, _OWN_LAYOUTS.get(model, "N,C,H,W"))
    if gap is not None:
        with pytest.raises(SurgeryError, match=re.escape(gap.reason)) as error:
            build_with_report(spec, DIGITS, own_survey(model))
        assert error.value.layer
        return
    built, report = build_with_report(spec, DIGITS, own_survey(model))
    assert set(find_sites(built)) == set(report.replaced)
    assert not survey_norms(built, DIGITS.shape).scores.intersection(report.replaced)
    check_alive(built, torch.randn(4, 1, 8, 8), spec)


def check_alive(built, x, spec):
    """Forward, backward, the same in training and after it but for batch statistics, state round trip."""
    built.train()
    output = built(x)
    output.square().sum().backward()
    learned = [p for p in built.parameters() if p.requires_grad]
    assert sum(p.grad is not None for p in learned) > 0.9 * len(learned)
    assert output.isfinite().all()
    drops_out = [m for m in built.modules() if drops(m)]
    with torch.no_grad():
        for module in drops_out:
            module.eval()
        trained, evaluated = built(x), built.eval()(x)
        assert torch.allclose(trained, evaluated, atol=1e-4) != uses_batch_statistics(spec.norm)
        twin = copy.deepcopy(built)
        for parameter in twin.parameters():
            parameter.add_(1.0)
        twin.load_state_dict(built.state_dict())
        assert torch.equal(twin(x), evaluated)


#: Each survey of these takes a second or more: the norms that differ most in what surgery does.
LARGE = (
    "torchvision:googlenet", "torchvision:inception_v3", "torchvision:resnet50",
    "torchvision:densenet121", "torchvision:swin_t", "timm:resnetv2_50", "timm:efficientnet_b0",
    "timm:densenet121", "timm:swin_tiny_patch4_window7_224", "timm:darknet53", "timm:ghostnet_100",
    "timm:mobilevit_xxs", "timm:poolformerv2_s12",
)  # fmt: skip
FEW = ("none", "layer", "group", "evonorm-S0")
KINDS = tuple({spec["kind"]: name for name, spec in reversed(NORMS.items())}.values())


@pytest.mark.parametrize(
    ("model", "norm"),
    [(m, n) for m in LIBRARY for n in (FEW if m in LARGE else (*KINDS, "lrn-space"))],
)
def test_every_norm_goes_into_library_models_or_is_refused_by_layer(model, norm):
    """The table norm × layout, and where one value is all there is, say which."""
    spec, info, survey = make_spec(model, norm), library_info(model), library_survey(model)
    sites = choose_sites(survey, spec.norm)
    misfit = next((e for s in sites if (e := explain_misfit(spec.norm, s))), None)
    alone = norm == "instance" and any(s.positions == 1 for s in sites)
    indivisible = norm.startswith(("group", "evonorm-S0")) and any(s.channels % 2 for s in sites)
    with torch.device("meta"):
        if misfit is not None or indivisible or alone:
            with pytest.raises(SurgeryError) as error:
                build_with_report(spec, info, survey)
            assert error.value.layer
            return
        built, report = build_with_report(spec, info, survey)
        output = built.train()(torch.empty((2, *info.shape)))
        assert output.shape == (2, 10)
        output.sum().backward()
        built.load_state_dict(built.state_dict())
    learned = [parameter for parameter in built.parameters() if parameter.requires_grad]
    assert sum(parameter.grad is not None for parameter in learned) > 0.9 * len(learned)
    if survey.sites:
        assert not LIBRARY[model] or len(report.replaced) == LIBRARY[model]
    assert set(find_sites(built)) == set(report.replaced)
    assert len(report.replaced) == len(sites)
    assert survey.scores
    assert not survey.scores.intersection(report.replaced)


@pytest.mark.parametrize("model", ["timm:resnet18", "timm:regnetx_002", "torchvision:vit_b_16"])
def test_a_build_that_surveys_by_itself_does_the_same_as_with_a_survey_of_another_build(model):
    spec, info = make_spec(model, "dynamic_tanh"), library_info(model)
    with torch.device("meta"):
        _, alone = build_with_report(spec, info)
        _, given = build_with_report(spec, info, library_survey(model))
    assert alone == given


def test_only_layouts_keep_a_norm_out_of_a_library_model():
    """Which cells of models × norms are refused: where there are vectors, tokens or windows alone."""
    refused = set()
    for model in LIBRARY.keys() - set(LARGE):
        survey = library_survey(model)
        for name in NORMS:
            norm = make_spec(model, name).norm
            if any(explain_misfit(norm, site) for site in choose_sites(survey, norm)):
                refused.add((model.split(":")[1].split("_")[0], name.split("-")[0]))
    assert {model for model, _ in refused} == {"vit", "mixer"}
    assert {norm for _, norm in refused} == {
        "instance", "group", "filter_response", "evonorm", "lrn",
    }  # fmt: skip


@pytest.mark.parametrize("norm", ["layer", "group", "batch", "lrn-channels", "dynamic_tanh", "rms"])
@pytest.mark.parametrize("model", SMALL)
def test_library_models_live_with_their_norms(model, norm):
    size = SMALL[model]
    spec = make_spec(model, norm, dataset={"name": "colour", "image_size": size})
    if norm == "group" and "vit" in model:
        return  # refused: above
    if norm == "group" and model == "timm:convnext_atto":
        return  # its head sees one position
    torch.manual_seed(0)
    check_alive(build_model(spec, colour(size)), torch.randn(4, 3, size, size), spec)


@pytest.mark.parametrize(
    ("model", "norm"),
    [(m, n) for m in ("mlp", "cnn", "resnet20", "inception_small", *SMALL) for n in KINDS],
)
def test_layers_that_variants_share_start_bit_equal(model, norm):
    info = colour(SMALL.get(model, 8))
    bare = build_bare_model(with_norm(model, norm), info)
    survey = survey_norms(bare, info.shape)
    sites, spec = survey.sites, with_norm(model, norm).norm
    alone = norm == "instance" and any(site.positions == 1 for site in sites)
    if alone or any(explain_misfit(spec, site) for site in sites):
        return  # refused: above
    norm_layers = {site.name for site in survey.sites}
    shared = {
        name: value
        for name, value in bare.state_dict().items()
        if name.rpartition(".")[0] not in norm_layers
    }
    state = build_model(with_norm(model, norm), info).state_dict()
    assert shared
    for name, value in shared.items():
        assert torch.equal(state[name], value), name


def test_another_seed_starts_with_other_weights():
    one, same, other = (build_model(make_spec("cnn", "batch", seed=s), DIGITS) for s in (0, 0, 1))
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


@pytest.mark.parametrize("model", SMALL)
def test_without_norm_a_zero_bias_takes_its_place_where_one_layer_feeds_it(model):
    built, report = build_with_report(make_spec(model, "none"), colour(64))
    for name in report.biases:
        bias = built.get_submodule(name).bias
        assert bias is not None
        assert not bias.any()
        assert bias.requires_grad
    convolutions = [m for m in built.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if "resnet" in model or "mobilenet" in model:
        assert all(layer.bias is not None for layer in convolutions)


def test_a_norm_after_a_concatenation_or_a_sum_has_no_single_producer():
    with torch.device("meta"):
        _, report = build_with_report(make_spec("torchvision:densenet121", "none"), colour(224))
    # Of its 121 norms, the two of each of 58 layers, 3 transitions, the first and the last.
    assert len(report.biases) == 59
    assert "features.denseblock1.denselayer1.norm1" in report.notes[0]
    assert "and 59 more" in report.notes[0]


def test_removing_the_norm_equals_the_model_with_identity_and_biases():
    bare = build_bare_model(make_spec("cnn"), DIGITS)
    removed = build_model(make_spec("cnn", "none"), DIGITS)
    x = torch.randn(3, 1, 8, 8)
    expected = x
    for layer in bare:
        expected = expected if isinstance(layer, nn.BatchNorm2d) else layer(expected)
    assert torch.equal(removed(x), expected)


def test_gain_and_bias_are_taken_over_so_that_zero_branches_stay_zero():
    info = colour(64)
    keeping = [name for name in NORMS if not name.startswith(("none", "lrn"))]
    for norm in keeping:
        built = build_model(make_spec("timm:resnet18", norm), info)
        last = built.get_submodule("layer1.0.bn2")
        first = built.get_submodule("layer1.0.bn1")
        gain = {name: p for name, p in last.named_parameters() if name.endswith("weight")}
        assert gain
        assert not any(bool(p.any()) for p in gain.values())
        assert all(bool(p.all()) for n, p in first.named_parameters() if n.endswith("weight"))
    for norm in ("none", "lrn-channels", "lrn-space"):
        _, report = build_with_report(make_spec("timm:resnet18", norm), info)
        assert any("began at zero gain" in note for note in report.notes)


class Toy(nn.Module):
    """A convolution, what the test puts after it, a mean and a classifier."""

    def __init__(self, norm, forward=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.other = nn.Conv2d(8, 8, 1, bias=False)
        self.norm = norm
        self.classifier = nn.Linear(8, 4)
        self.middle = forward or (lambda toy, x: toy.norm(x))

    def forward(self, x):
        return self.classifier(self.middle(self, self.conv(x)).mean((2, 3)))


def operate(toy, norm="none"):
    return replace_norms(toy, make_spec("cnn", norm).norm, (3, 8, 8))


@pytest.mark.parametrize(
    ("middle", "producer"),
    [
        (lambda t, x: t.norm(x), True),
        (lambda t, x: t.norm(x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)), True),
        (lambda t, x: t.norm(x.flatten(2).unflatten(2, (6, 6)).contiguous()), None),
        (lambda t, x: t.norm(x + t.other(x)), False),
        (lambda t, x: t.norm(x) + x, False),
        (lambda t, x: t.norm(functional.relu(x)), False),
        (lambda t, x: t.norm(functional.relu_(x)), False),
        (lambda t, x: t.norm(torch.cat([x[:, :4], x[:, 4:]], 1)), False),
        (lambda t, x: t.norm(x * 2), False),
    ],
)
def test_a_bias_is_given_only_to_the_layer_whose_whole_output_feeds_the_norm(middle, producer):
    toy = Toy(nn.BatchNorm2d(8), middle)
    report = operate(toy)
    if producer is not None:
        assert report.biases == (("conv",) if producer else ())
        assert (toy.conv.bias is not None) == producer
        assert bool(report.notes) != producer


def test_a_norm_used_in_two_places_is_replaced_once():
    toy = Toy(nn.BatchNorm2d(8), lambda t, x: t.again(t.norm(x)))
    toy.again = toy.norm
    operate(toy, "group")
    assert isinstance(toy.norm, nn.GroupNorm)
    assert toy.again is toy.norm


def test_a_norm_that_is_never_called_is_left_alone_and_told():
    toy = Toy(nn.BatchNorm2d(8))
    toy.spare = nn.BatchNorm2d(8)
    report = operate(toy, "layer")
    assert isinstance(toy.spare, nn.BatchNorm2d)
    assert report.replaced == ("norm",)
    assert report.notes == ("never called, so left alone: spare",)


class Unknown(nn.Module):
    def forward(self, x):
        return x


class MyNorm2d(Unknown):
    pass


class HiddenNorm(nn.Module):
    def forward(self, x):
        return functional.group_norm(x, 2)


class OwnForward(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize(
    ("norm", "middle", "layer"),
    [
        (MyNorm2d(), None, "norm"),
        (nn.LocalResponseNorm(3), None, "norm"),
        (HiddenNorm(), None, "norm"),
        (OwnForward(8), None, "norm"),
        (nn.LayerNorm([8, 6, 6]), None, "norm"),
        (nn.Identity(), lambda t, x: functional.batch_norm(x, None, None, training=True), None),
        (nn.Identity(), lambda t, x: functional.layer_norm(x, (6, 6)), None),
    ],
)
def test_a_norm_out_of_reach_is_refused_with_its_layer_and_nothing_is_changed(norm, middle, layer):
    toy = Toy(norm, middle)
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    with pytest.raises(SurgeryError, match="cannot be replaced") as error:
        operate(toy, "batch")
    assert error.value.layer == layer
    assert error.value.pointer == "/model/name"
    assert toy.norm is norm
    assert all(torch.equal(value, before[name]) for name, value in toy.state_dict().items())


class NormFreeBlock(nn.Module):
    """Called a norm and has a gain, but takes no statistics; or does, with `own`."""

    def __init__(self, own):
        super().__init__()
        self.gain, self.inner, self.own = nn.Parameter(torch.zeros(())), nn.BatchNorm2d(8), own

    def forward(self, x):
        y = self.inner(x) * self.gain
        return y / y.std() if self.own else x + y


def test_a_block_is_a_norm_by_the_statistics_that_it_takes_and_not_by_its_name():
    assert operate(Toy(NormFreeBlock(own=False)), "group").replaced == ("norm.inner",)
    with pytest.raises(SurgeryError, match="NormFreeBlock is a normalization of another kind"):
        operate(Toy(NormFreeBlock(own=True)), "group")


def test_a_model_without_norms_gets_one_behind_each_convolution():
    torch.manual_seed(0)
    toy = Toy(nn.ReLU(), lambda t, x: t.other(t.norm(x)))
    weight = toy.conv.weight
    assert operate(toy).replaced == ()
    report = operate(toy, "batch")
    assert report.replaced == ("conv", "other")
    assert report.notes == ("the model has no norms: put behind its convolutions conv, other",)
    assert toy.conv.weight is weight
    assert isinstance(toy.conv.norm, nn.BatchNorm2d)
    x = torch.randn(4, 3, 8, 8)
    normalized = functional.batch_norm(functional.conv2d(x, weight), None, None, training=True)
    assert torch.allclose(toy.conv(x), normalized, atol=1e-6)


class Scorer(nn.Module):
    """Two convolutions, and what the test makes class scores of."""

    def __init__(self, scores):
        super().__init__()
        self.conv, self.score, self.other = (
            nn.Conv2d(3, 8, 3),
            nn.Conv2d(8, 4, 1),
            nn.Conv2d(8, 4, 1),
        )
        self.head = nn.Linear(4, 4)
        self.act, self.drop, self.pool = nn.ReLU(), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1)
        self.temperature = nn.Parameter(torch.ones(4))
        self.matrix = nn.Parameter(torch.randn(4, 4))
        self.scores = scores

    def forward(self, x):
        return self.scores(self, self.conv(x))


@pytest.mark.parametrize(
    ("scores", "replaced"),
    [
        (lambda t, x: t.pool(t.act(t.score(t.drop(x)))).flatten(1), {"conv"}),
        (lambda t, x: t.score(x).mean((2, 3)) * t.temperature, {"conv"}),
        (lambda t, x: (t.score(x) + t.other(x)).amax((2, 3)) / 2, {"conv"}),
        (lambda t, x: torch.cat([t.score(x), t.other(x)], 2).sum((2, 3)), {"conv"}),
        (lambda t, x: t.head(t.score(x).mean((2, 3))), {"conv", "score"}),
        (lambda t, x: t.score(x).mean((2, 3)) @ t.matrix, {"conv", "score"}),
    ],
    ids=["activated", "scaled", "sum of two", "joined", "linear", "product"],
)
def test_no_norm_is_put_behind_what_gives_the_class_scores(scores, replaced):
    assert set(operate(Scorer(scores), "layer").replaced) == replaced


def test_a_model_whose_only_convolution_gives_the_class_scores_has_no_place_for_a_norm():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SurgeryError, match="batch norm has no place"):
        operate(model, "batch")


def test_a_model_with_neither_norms_nor_convolutions_takes_none_only():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert operate(model).replaced == ()
    with pytest.raises(SurgeryError, match="batch norm has no place"):
        operate(model, "batch")


def test_a_model_that_looks_into_its_norm_is_refused():
    toy = Toy(nn.BatchNorm2d(8), lambda t, x: t.norm(x) + t.norm.running_mean.sum())
    operate(toy, "batch")
    with pytest.raises(SurgeryError, match="does not run with group norm"):
        operate(toy, "group")
    assert isinstance(toy.norm, nn.BatchNorm2d)


def test_windows_take_no_norm_of_whole_samples():
    def windows(toy, x):
        parts = x.unflatten(2, (2, 3)).permute(0, 2, 3, 4, 1).flatten(0, 1)
        return toy.norm(parts).unflatten(0, (-1, 2)).flatten(1, 2).permute(0, 3, 1, 2)

    operate(Toy(nn.LayerNorm(8), windows), "batch")
    for norm in ("layer", "group", "instance"):
        with pytest.raises(SurgeryError, match="norm sees windows instead of whole samples"):
            operate(Toy(nn.LayerNorm(8), windows), norm)


class WindowAttention(nn.Module):
    """Called an attention, though its norm sees maps N, H, W, C or tokens as they are."""

    def __init__(self, forward):
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm, self.head_norm = nn.LayerNorm(8), nn.LayerNorm(2)
        self.pool = nn.Conv2d(2, 2, 3, padding=1, groups=2)
        self.inner = forward

    def forward(self, x):
        return self.inner(self, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def heads(layer, x):
    """Queries as N, heads, positions, channels of one head."""
    n, h, w, _ = x.shape
    return layer.qkv(x).reshape(n, h * w, 3, 4, 2).permute(2, 0, 3, 1, 4).unbind(0)[0]


def joined(x, h, w):
    return x.transpose(1, 2).reshape(len(x), h, w, 8)


def pooled_heads(layer, x):
    """As multi-scale attention does: each head is a map of its own for a convolution."""
    n, h, w, _ = x.shape
    maps = heads(layer, x).reshape(n * 4, h, w, 2).permute(0, 3, 1, 2)
    return layer.pool(maps).reshape(n, 4, 2, h * w).transpose(2, 3)


def attended_heads(layer, x):
    query = heads(layer, x)
    return (query @ query.transpose(-2, -1)).softmax(-1) @ query


@pytest.mark.parametrize(
    "forward",
    [
        lambda t, x: t.norm(x),
        lambda t, x: t.norm(t.proj(t.norm(x)) + x),
        lambda t, x: t.norm(t.qkv(x).chunk(3, -1)[0]),
        lambda t, x: t.norm(joined(heads(t, x), 6, 6) + x),
        lambda t, x: t.norm(t.proj(joined(attended_heads(t, x), 6, 6))),
    ],
    ids=["as it is", "after a sum", "a third that stands for itself", "joined", "attended"],
)
def test_a_norm_of_maps_inside_attention_is_replaced_whatever_its_parent_is_called(forward):
    toy = Toy(WindowAttention(forward))
    assert operate(toy, "group").replaced == ("norm.norm",)


@pytest.mark.parametrize("inner", [heads, pooled_heads, attended_heads])
def test_a_norm_that_sees_heads_is_refused_whatever_its_parent_is_called(inner):
    layer = WindowAttention(lambda t, x: joined(t.head_norm(inner(t, x)), 6, 6))
    with pytest.raises(SurgeryError, match="a part of the channels") as error:
        operate(Toy(nn.Sequential(layer)), "layer")
    assert error.value.layer == "norm.0.head_norm"


def normalized(toy, x):
    with torch.no_grad():
        return toy.norm(x).double().numpy()


def as_maps(toy, x):
    return toy.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def as_tokens(toy, x):
    return toy.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (6, 6))


@pytest.mark.parametrize(
    ("norm", "middle", "shape", "axes"),
    [
        ("batch", as_maps, (4, 6, 6, 8), (0, 1, 2)),
        ("layer", as_maps, (4, 6, 6, 8), (1, 2, 3)),
        ("instance", as_maps, (4, 6, 6, 8), (1, 2)),
        ("batch", as_tokens, (4, 36, 8), (0, 1)),
        ("layer", as_tokens, (4, 36, 8), (2,)),
    ],
)
def test_layers_with_channels_last_get_the_norm_over_the_right_axes(norm, middle, shape, axes):
    x = torch.randn(shape)
    toy = Toy(nn.LayerNorm(8), middle)
    report = operate(toy, norm)
    array = x.double().numpy()
    mean, std = array.mean(axes, keepdims=True), array.std(axes, keepdims=True)
    numpy.testing.assert_allclose(normalized(toy, x), (array - mean) / std, atol=1e-3)
    assert any("token" in note for note in report.notes) == (middle is as_tokens)


def test_layers_that_norm_and_activate_in_one_keep_their_activation():
    from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct, LayerNormAct2d

    x = torch.randn(4, 8, 6, 6)
    for make in (BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct, LayerNormAct2d):
        for norm in NORMS:
            layer = make(8, 4) if make is GroupNormAct else make(8)
            toy = Toy(layer)
            operate(toy, norm)
            taken = takes_activation(make_spec("cnn", norm).norm)
            assert isinstance(toy.norm.act, nn.Identity if taken else nn.ReLU)
            plain = toy.norm.act(toy.norm.norm(x.clone()))
            assert torch.allclose(toy.norm(x.clone()), plain, atol=1e-6)


def test_frozen_batch_norm_becomes_trainable_with_its_values():
    from torchvision.ops import FrozenBatchNorm2d

    frozen = FrozenBatchNorm2d(8)
    frozen.weight.fill_(0.5)
    toy = Toy(frozen)
    operate(toy, "group")
    assert torch.equal(toy.norm.weight, torch.full((8,), 0.5))
    assert toy.norm.weight.requires_grad


def test_surgery_draws_no_random_numbers_and_leaves_statistics_alone():
    toy = Toy(nn.BatchNorm2d(8))
    torch.manual_seed(1)
    survey_norms(toy, (3, 8, 8))
    assert int(toy.norm.num_batches_tracked) == 0
    assert toy.training
    operate(toy, "batch")
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))


ACTIVATED = lambda t, x: t.act(t.norm(x))  # noqa: E731


def activated_toy(middle=ACTIVATED):
    toy = Toy(nn.BatchNorm2d(8), middle)
    toy.act = nn.ReLU()
    return toy


@pytest.mark.parametrize("kind", ["layer", "group", "batch", "lrn", "instance", "rms"])
def test_a_norm_placed_after_comes_behind_the_activation(kind):
    toy = activated_toy()
    norm = {"kind": kind, "placement": "after", **({"groups": 2} if kind == "group" else {})}
    report = operate(toy, norm)
    assert report.replaced == ("norm",)
    assert isinstance(toy.norm, nn.Identity)
    assert isinstance(toy.act, ActivationThenNorm)
    # Nothing else shifts what the activation sees.
    assert report.biases == ("conv",)
    x = torch.randn(4, 3, 8, 8)
    y = torch.relu(toy.conv(x))
    assert torch.allclose(toy.act(toy.norm(toy.conv(x))), toy.act.norm(y), atol=1e-6)


@pytest.mark.parametrize(
    "middle",
    [
        lambda t, x: t.norm(x),
        lambda t, x: functional.relu(t.norm(x)),
        lambda t, x: t.act(t.norm(x) + x),
        lambda t, x: t.act(t.other(t.act(t.norm(x)))),
        lambda t, x: t.act(n := t.norm(x)) + n,
    ],
    ids=["no activation", "functional", "after a sum", "shared", "used twice"],
)
def test_where_no_activation_of_its_own_follows_it_cannot_be_placed_after(middle):
    toy = activated_toy(middle)
    with pytest.raises(SurgeryError, match="not followed by an activation layer") as error:
        operate(toy, {"kind": "layer", "placement": "after"})
    assert (error.value.pointer, error.value.layer) == ("/norm/placement", "norm")
    assert isinstance(toy.norm, nn.BatchNorm2d)
    # What takes the activation's place leaves that of others, and says so.
    report = operate(toy, {"kind": "evonorm", "groups": 2})
    assert isinstance(toy.act, nn.ReLU)
    assert any("what the model does there stays" in note for note in report.notes)


@pytest.mark.parametrize(
    "norm",
    [
        {"kind": "evonorm", "groups": 2},
        {"kind": "evonorm", "form": "B0"},
        {"kind": "filter_response"},
    ],
)
def test_what_activates_as_well_takes_the_place_of_the_activation(norm):
    toy = activated_toy()
    report = operate(toy, norm)
    assert isinstance(toy.act, nn.Identity)
    assert not any("stays" in note for note in report.notes)
    assert type(bare_norm(toy.norm)).__name__.lower().startswith(norm["kind"].replace("_", ""))


def test_dropout_comes_behind_a_norm_that_is_placed_after():
    spec = make_spec(
        "cnn",
        {"kind": "layer", "placement": "after"},
        regularization=[{"kind": "dropout", "p": 0.3}],
    )
    names = list(dict(build_model(spec, DIGITS).named_children()))
    built = build_model(spec, DIGITS)
    assert names.index("dropout1") == names.index("activation1") + 1
    assert isinstance(built.activation1, ActivationThenNorm)


def test_norms_behind_convolutions_are_normed_before_or_after_the_activation():
    before, after = (
        build_model(
            make_spec("torchvision:alexnet", {"kind": "lrn", "placement": placement}), colour(64)
        )
        for placement in ("before", "after")
    )
    assert set(before.state_dict()) == set(after.state_dict())
    x = torch.rand(2, 3, 64, 64)
    maps = before.features[0].norm(
        functional.conv2d(x, before.features[0].weight, before.features[0].bias, 4, 2)
    )
    assert torch.allclose(before.features[0](x), maps)
    assert isinstance(after.features[1], ActivationThenNorm)


def test_weights_standardized_by_a_library_are_no_norms_of_activations():
    with torch.device("meta"):
        _, report = build_with_report(make_spec("timm:nf_resnet26", "none"), colour(224))
        assert report.replaced == ()
        _, report = build_with_report(make_spec("timm:nf_resnet26", "batch"), colour(224))
    assert "the model has no norms" in report.notes[0]
