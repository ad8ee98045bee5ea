"""Networks that ignore their images: refused with the layer, by the trace and by two images, each alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.spec_checks import forget_networks
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.checks import input_dependence
from trainer.checks.dependence_trace import Blindness
from trainer.checks.run import check
from trainer.models import build as models
from trainer.models.build import build_model

CHANNELS = 6


class Toy(nn.Module):
    """A convolution, what the test puts behind it, and a classifier of one vector per image."""

    def __init__(self, middle):
        super().__init__()
        self.conv = nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False)
        self.norm, self.last = nn.BatchNorm2d(CHANNELS), nn.LayerNorm(CHANNELS)
        self.act, self.drop = nn.ReLU(), nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pointwise = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.wide = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.scale = nn.Parameter(torch.full((CHANNELS, 1, 1), 1e-6))
        self.classifier = nn.Linear(CHANNELS, 10)
        self.middle = middle

    def forward(self, x):
        return self.classifier(self.middle(self, self.conv(x)).flatten(1))


def gated(toy, x):
    """Squeeze and excitation: gates from the averages."""
    y = toy.norm(x)
    return y * torch.sigmoid(toy.pointwise(toy.pool(y)))


def channels_last(toy, x):
    return toy.last(x.permute(0, 2, 3, 1))


BLIND = {
    "pooled": (lambda t, x: t.pool(t.norm(x)), "norm"),
    "mean": (lambda t, x: t.norm(x).mean((2, 3)), "norm"),
    "average of all": (lambda t, x: functional.avg_pool2d(t.norm(x), (8, 8)), "norm"),
    "pointwise": (lambda t, x: t.pool(t.pointwise(t.norm(x))), "norm"),
    "dropped": (lambda t, x: t.pool(t.drop(t.norm(x))), "norm"),
    "scaled": (lambda t, x: t.pool(t.norm(x) * t.scale + 1), "norm"),
    "line": (lambda t, x: t.norm(x).flatten(2).mean(-1), "norm"),
    "sum": (lambda t, x: t.pool(t.norm(x) + t.norm(t.pointwise(x))), "norm"),
    "channels last": (lambda t, x: channels_last(t, x).mean((1, 2)), "last"),
    "back to first": (lambda t, x: t.pool(channels_last(t, x).permute(0, 3, 1, 2)), "last"),
    "tokens": (lambda t, x: channels_last(t, x).flatten(1, 2).mean(1), "last"),
    "gated and pooled": (lambda t, x: t.pool(gated(t, x)), "norm"),
}
SEEING = {
    "activated": lambda t, x: t.pool(t.act(t.norm(x))),
    "residual": lambda t, x: t.pool(x + t.norm(x)),
    "largest": lambda t, x: functional.max_pool2d(t.norm(x), 8),
    "convolved without a border": lambda t, x: t.pool(t.wide(t.norm(x))),
    "averaged in parts": lambda t, x: functional.adaptive_max_pool2d(
        functional.avg_pool2d(t.norm(x), 4), 1
    ),
    "averaged over channels": lambda t, x: (
        t.norm(x).mean(1, keepdim=True).amax((2, 3)).expand(-1, CHANNELS)
    ),
    "beside it": lambda t, x: t.pool(t.norm(x)) + x.mean((2, 3), keepdim=True),
    "hardly scaled": lambda t, x: t.pool(t.act(t.norm(x)) * t.scale),
}


@pytest.fixture(params=["trace", "images"])
def evidence(request, monkeypatch):
    """Each way to find out, without the other."""
    if request.param == "trace":
        monkeypatch.setattr(input_dependence, "MOST_PARAMETERS", 0)
    else:
        seen = Blindness((), is_total=False)
        monkeypatch.setattr(input_dependence, "trace_blindness", lambda *args: seen)
    return request.param


def check_toy(monkeypatch, middle, norm="instance", start=None, **options):
    def build_toy(*args):
        toy = Toy(middle)
        if start is not None:
            start(toy)
        return toy

    monkeypatch.setattr(models, "_build", build_toy)
    forget_networks()
    return check(make_spec("cnn", norm, **options), DIGITS)


@pytest.mark.parametrize("name", BLIND)
def test_a_network_whose_outputs_are_constant_is_refused_with_its_last_norm(
    monkeypatch, evidence, name
):
    middle, layer = BLIND[name]
    (problem,) = check_toy(monkeypatch, middle).problems
    assert (problem.pointer, problem.layer) == ("/norm/kind", layer)
    assert "do not depend on the image" in problem.detail
    assert "layer or batch norm" in problem.remedy
    # As it was before this check: a model whose outputs are all alike.
    model = build_model(make_spec("cnn", "instance"), DIGITS)
    model.drop.p = 0.0
    outputs = model(torch.randn(2, 1, 8, 8))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-5)


@pytest.mark.parametrize("name", SEEING)
def test_a_network_that_sees_its_images_is_accepted(monkeypatch, evidence, name):
    assert check_toy(monkeypatch, SEEING[name]).problems == ()


@pytest.mark.parametrize(
    "start",
    [
        lambda toy: nn.init.zeros_(toy.classifier.weight),
        lambda toy: nn.init.zeros_(toy.norm.weight),
        lambda toy: nn.init.zeros_(toy.conv.weight),
        lambda toy: nn.init.constant_(toy.norm.bias, -1e3),
    ],
    ids=["classifier", "gain", "convolution", "dead"],
)
def test_what_is_constant_only_at_the_start_is_accepted(monkeypatch, evidence, start):
    assert check_toy(monkeypatch, SEEING["activated"], start=start).problems == ()


def test_a_normal_start_of_no_width_is_accepted(evidence):
    spec = make_spec("cnn", "instance", init={"kind": "normal", "std": 1e-9})
    assert check(spec, DIGITS).problems == ()


def test_a_group_for_each_channel_is_instance_norm_and_refused_by_its_groups(monkeypatch, evidence):
    middle, _ = BLIND["pooled"]
    by_size = {"kind": "group", "channels_per_group": 1}
    for norm, pointer in (
        ({"kind": "group", "groups": 6}, "/norm/groups"),
        (by_size, "/norm/kind"),
    ):
        (problem,) = check_toy(monkeypatch, middle, norm).problems
        assert problem.pointer == pointer
        assert "fewer groups" in problem.remedy
    assert check_toy(monkeypatch, middle, {"kind": "group", "groups": 3}).problems == ()


@pytest.mark.parametrize("norm", ["batch", "ghost_batch", "batch_renorm"])
def test_a_batch_of_one_image_makes_batch_norm_an_instance_norm(monkeypatch, evidence, norm):
    middle, _ = BLIND["pooled"]
    (problem,) = check_toy(monkeypatch, middle, norm, training={"batch_size": 1}).problems
    assert (problem.pointer, problem.layer) == ("/training/batch_size", "norm")
    assert check_toy(monkeypatch, middle, norm, training={"batch_size": 2}).problems == ()


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms", "filter_response", "evonorm-S0"])
def test_other_norms_keep_what_is_pooled(monkeypatch, evidence, norm):
    middle, _ = BLIND["pooled"]
    assert check_toy(monkeypatch, middle, norm).problems == ()


def test_a_norm_placed_behind_the_last_activation_is_refused(monkeypatch, evidence):
    norm = {"kind": "instance", "placement": "after"}
    (problem,) = check_toy(monkeypatch, SEEING["activated"], norm).problems
    assert problem.layer == "norm"


def test_gates_that_are_the_same_for_every_image_are_told(monkeypatch):
    report = check_toy(monkeypatch, lambda t, x: t.pool(t.act(gated(t, x))))
    assert report.problems == ()
    (note,) = [note for note in report.notes if "the same for every image" in note]
    assert note.endswith("behind norm")


def test_the_check_draws_nothing_from_the_global_generators(monkeypatch):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    check_toy(monkeypatch, SEEING["activated"])
    assert torch.equal(torch.rand(1), expected)


def test_a_model_that_cannot_be_compared_is_left_to_the_trace(monkeypatch):
    def fail(*args):
        raise RuntimeError("no memory")

    monkeypatch.setattr(input_dependence, "_build_random", fail)
    middle, layer = BLIND["pooled"]
    (problem,) = check_toy(monkeypatch, middle).problems
    assert problem.layer == layer
    assert check_toy(monkeypatch, SEEING["activated"]).problems == ()
