"""Surgery: every norm into every model, nothing else touched, what cannot be done refused by name."""

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from trainer_specs import DIGITS, NORMS, make_info, make_spec

from trainer.errors import SurgeryError
from trainer.models import build_bare_model, build_model, build_with_report
from trainer.sites import survey_norms
from trainer.spec import JobSpec
from trainer.surgery import replace_norms

OWN = ("mlp", "cnn", "resnet20")


def colour(size):
    return make_info(name="colour", shape=(3, size, size), mean=(0.5,) * 3, std=(0.25,) * 3)


#: Model, number of its norm layers, and the norms that are not defined on it.
LIBRARY = [
    ("torchvision:resnet18", 20, ()),
    ("torchvision:vgg16_bn", 13, ()),
    ("torchvision:mobilenet_v3_small", 34, ()),
    ("torchvision:densenet121", 121, ()),
    ("torchvision:convnext_tiny", 23, ("instance",)),
    ("torchvision:vit_b_16", 25, ("instance", "group")),
    ("timm:resnet18", 20, ()),
    ("timm:convnext_atto", 17, ("instance",)),
    ("timm:resnetv2_50", 49, ()),
    ("timm:vit_tiny_patch16_224", 25, ("instance", "group")),
    ("timm:swin_tiny_patch4_window7_224", 29, ("instance", "group")),
]
SMALL = ("torchvision:mobilenet_v3_small", "timm:resnet18", "timm:convnext_atto")
UNDEFINED = {("mlp", "instance"), ("timm:convnext_atto", "instance")}

NORM_TYPES = {
    "none": (),
    "batch": (nn.modules.batchnorm._BatchNorm,),
    "layer": (nn.GroupNorm, nn.LayerNorm),
    "instance": (nn.modules.instancenorm._InstanceNorm,),
    "group": (nn.GroupNorm,),
}
ALL_NORMS = (*NORM_TYPES["batch"], *NORM_TYPES["layer"], *NORM_TYPES["instance"])


def norms_in(model):
    return [type(module) for module in model.modules() if isinstance(module, ALL_NORMS)]


def with_norm(model, norm) -> JobSpec:
    return make_spec({"name": model, "hidden": [8, 8]} if model == "mlp" else model, norm)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", OWN)
def test_every_norm_goes_into_every_own_model(model, norm):
    if (model, norm) == ("mlp", "instance"):
        with pytest.raises(SurgeryError, match="needs positions") as error:
            build_model(with_norm(model, norm), DIGITS)
        assert error.value.layer == "norm1"
        return
    built, report = build_with_report(with_norm(model, norm), DIGITS)
    assert all(issubclass(kind, NORM_TYPES[norm]) for kind in norms_in(built))
    assert len(norms_in(built)) == (0 if norm == "none" else len(report.replaced))
    assert built(torch.randn(4, 1, 8, 8)).shape == (4, 10)
    assert report.notes == ()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("model", "count", "undefined"), LIBRARY)
def test_every_norm_goes_into_library_models_or_is_refused_by_layer(model, count, undefined, norm):
    with torch.device("meta"):
        if norm in undefined:
            with pytest.raises(SurgeryError) as error:
                build_model(make_spec(model, norm), colour(224))
            assert error.value.layer
            return
        built, report = build_with_report(make_spec(model, norm), colour(224))
    assert len(report.replaced) == count
    assert len(norms_in(built)) == (0 if norm == "none" else count)
    assert all(issubclass(kind, NORM_TYPES[norm]) for kind in norms_in(built))


@pytest.mark.parametrize(
    ("model", "norm"),
    [(m, n) for m in (*OWN, *SMALL) for n in NORMS if (m, n) not in UNDEFINED],
)
def test_layers_that_variants_share_start_bit_equal(model, norm):
    info = colour(64 if model in SMALL else 8)
    bare = build_bare_model(with_norm(model, norm), info)
    norm_layers = {site.name for site in survey_norms(bare, info.shape).sites}
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
    for norm in ("batch", "layer", "group", "instance"):
        built = build_model(make_spec("timm:resnet18", norm), info)
        last = built.get_submodule("layer1.0.bn2")
        first = built.get_submodule("layer1.0.bn1")
        gain = {name: p for name, p in last.named_parameters() if name.endswith("weight")}
        assert gain
        assert not any(bool(p.any()) for p in gain.values())
        assert all(bool(p.all()) for n, p in first.named_parameters() if n.endswith("weight"))
    _, report = build_with_report(make_spec("timm:resnet18", "none"), info)
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
            assert isinstance(toy.norm.act, nn.ReLU)
            plain = torch.relu(toy.norm.norm(x))
            assert torch.equal(toy.norm(x.clone()), plain)
            assert toy.norm.norm.__class__.__name__.startswith(
                {"none": "Identity", "layer": "GroupNorm"}.get(norm, norm.capitalize())
            )


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
