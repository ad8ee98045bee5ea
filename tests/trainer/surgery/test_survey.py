"""What the survey of a model sees: norms, what feeds them, and normalizations out of reach."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.toy_models import Toy, replace_toy_norms
from trainer.errors import SurgeryError


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
    report = replace_toy_norms(toy)
    if producer is not None:
        assert report.biases == (("conv",) if producer else ())
        assert (toy.conv.bias is not None) == producer
        assert bool(report.notes) != producer


def test_a_norm_that_is_never_called_is_left_alone_and_told():
    toy = Toy(nn.BatchNorm2d(8))
    toy.spare = nn.BatchNorm2d(8)
    report = replace_toy_norms(toy, "layer")
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
        replace_toy_norms(toy, "batch")
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
    assert replace_toy_norms(Toy(NormFreeBlock(own=False)), "group").replaced == ("norm.inner",)
    with pytest.raises(SurgeryError, match="NormFreeBlock is a normalization of another kind"):
        replace_toy_norms(Toy(NormFreeBlock(own=True)), "group")


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
    assert set(replace_toy_norms(Scorer(scores), "layer").replaced) == replaced


def test_a_model_whose_only_convolution_gives_the_class_scores_has_no_place_for_a_norm():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SurgeryError, match="batch norm has no place"):
        replace_toy_norms(model, "batch")


def test_a_model_with_neither_norms_nor_convolutions_takes_none_only():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert replace_toy_norms(model).replaced == ()
    with pytest.raises(SurgeryError, match="batch norm has no place"):
        replace_toy_norms(model, "batch")


def test_windows_take_no_norm_of_whole_samples():
    def windows(toy, x):
        parts = x.unflatten(2, (2, 3)).permute(0, 2, 3, 4, 1).flatten(0, 1)
        return toy.norm(parts).unflatten(0, (-1, 2)).flatten(1, 2).permute(0, 3, 1, 2)

    replace_toy_norms(Toy(nn.LayerNorm(8), windows), "batch")
    for norm in ("layer", "group", "instance"):
        with pytest.raises(SurgeryError, match="norm sees windows instead of whole samples"):
            replace_toy_norms(Toy(nn.LayerNorm(8), windows), norm)


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
    assert replace_toy_norms(toy, "group").replaced == ("norm.norm",)


@pytest.mark.parametrize("inner", [heads, pooled_heads, attended_heads])
def test_a_norm_that_sees_heads_is_refused_whatever_its_parent_is_called(inner):
    layer = WindowAttention(lambda t, x: joined(t.head_norm(inner(t, x)), 6, 6))
    with pytest.raises(SurgeryError, match="a part of the channels") as error:
        replace_toy_norms(Toy(nn.Sequential(layer)), "layer")
    assert error.value.layer == "norm.0.head_norm"
