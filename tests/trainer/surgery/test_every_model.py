"""Every norm into our own models and into those of the libraries, or refused by its layer."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice

import pytest
import torch
from torch import nn

from tests.support.model_cache import built_once
from tests.support.toy_models import colour
from tests.support.trainer_specs import DIGITS, NORMS, make_spec
from trainer.errors import SurgeryError
from trainer.layers.dropout import drops
from trainer.models.build import build_bare_model, build_model, build_with_report
from trainer.spec.job import JobSpec
from trainer.spec.layouts import find_gap
from trainer.surgery.build_norm import (
    find_sites,
    uses_batch_statistics,
)
from trainer.surgery.remembered_shapes import on_meta
from trainer.surgery.replace_norms import choose_sites, explain_misfit
from trainer.surgery.survey import Survey, survey_norms

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
    "torchvision:mobilenet_v3_small": 64,
    "torchvision:resnet18": 64,
    "timm:resnet18": 64,
    "timm:convnext_atto": 64,
    "timm:vit_tiny_patch16_224": 32,
}


#: Layouts of our own models that are not N, C, H, W.
_OWN_LAYOUTS = {"mlp": "N,C", "vit_small": "N,L,C", "autoencoder": "N,C"}


@pytest.fixture(autouse=True)
def _cheap_models() -> Iterator[None]:
    """A few dozen models meet a dozen norms each."""
    with built_once():
        yield


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
    with on_meta():
        return survey_norms(build_bare_model(make_spec(model), info), info.shape)


def in_turn(models, norms) -> list[tuple[str, str]]:
    """Each model with one norm at least, and each norm with one model."""
    models, norms = tuple(models), tuple(norms)
    turns = max(len(models), len(norms))
    return list(islice(zip(cycle(models), cycle(norms), strict=False), turns))


#: Models whose layers lie in the three layouts meet every norm, the others a few each.
@pytest.mark.parametrize(
    ("model", "norm"),
    [
        *((m, n) for m in ("mlp", "cnn", "vit_small") for n in NORMS),
        *in_turn(("resnet20", "alexnet_small", "inception_small", "autoencoder"), NORMS),
    ],
)
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


KINDS = tuple({spec["kind"]: name for name, spec in reversed(NORMS.items())}.values())
PLACED = (*KINDS, "lrn-space")


#: Maps with channels first, maps with channels last, tokens: every norm; each of the others meets one.
@pytest.mark.parametrize(
    ("model", "norm"),
    dict.fromkeys(
        [
            *(
                (m, n)
                for m in ("timm:resnet18", "timm:convnext_atto", "timm:vit_tiny_patch16_224")
                for n in PLACED
            ),
            *in_turn(LIBRARY, PLACED),
        ]
    ),
)
def test_every_norm_goes_into_library_models_or_is_refused_by_layer(model, norm):
    """The table norm × layout, and where one value is all there is, say which."""
    spec, info, survey = make_spec(model, norm), library_info(model), library_survey(model)
    sites = choose_sites(survey, spec.norm)
    misfit = next((e for s in sites if (e := explain_misfit(spec.norm, s))), None)
    alone = norm == "instance" and any(s.positions == 1 for s in sites)
    indivisible = norm.startswith(("group", "evonorm-S0")) and any(s.channels % 2 for s in sites)
    with on_meta():
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
    with on_meta():
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


@pytest.mark.parametrize(
    ("model", "norm"),
    [
        ("torchvision:mobilenet_v3_small", "batch"),
        ("torchvision:mobilenet_v3_small", "group"),
        ("timm:resnet18", "lrn-channels"),
        ("timm:convnext_atto", "layer"),
        ("timm:convnext_atto", "batch"),
        ("timm:vit_tiny_patch16_224", "rms"),
        ("timm:vit_tiny_patch16_224", "dynamic_tanh"),
    ],
)
def test_library_models_live_with_their_norms(model, norm):
    size = SMALL[model]
    spec = make_spec(model, norm, dataset={"name": "colour", "image_size": size})
    torch.manual_seed(0)
    check_alive(build_model(spec, colour(size)), torch.randn(4, 3, size, size), spec)


@cache
def bare_state(model) -> tuple[dict[str, torch.Tensor], Survey]:
    """Values and survey of the model with its own norms, on images of the size that real tensors take."""
    info = colour(SMALL.get(model, 8))
    bare = build_bare_model(with_norm(model, "batch"), info)
    return bare.state_dict(), survey_norms(bare, info.shape)


@pytest.mark.parametrize(
    ("model", "norm"),
    [
        *((m, n) for m in ("mlp", "cnn", "vit_small") for n in KINDS),
        *((m, n) for m in ("resnet20", "inception_small") for n in ("none", "evonorm-B0")),
        *((m, "none") for m in SMALL),
        *in_turn(SMALL, KINDS[1:]),
    ],
)
def test_layers_that_variants_share_start_bit_equal(model, norm):
    info = colour(SMALL.get(model, 8))
    bare, survey = bare_state(model)
    sites, spec = survey.sites, with_norm(model, norm).norm
    alone = norm == "instance" and any(site.positions == 1 for site in sites)
    if alone or any(explain_misfit(spec, site) for site in sites):
        return  # refused: above
    norm_layers = {site.name for site in survey.sites}
    shared = {
        name: value for name, value in bare.items() if name.rpartition(".")[0] not in norm_layers
    }
    built, _ = build_with_report(with_norm(model, norm), info, survey)
    state = built.state_dict()
    assert shared
    for name, value in shared.items():
        assert torch.equal(state[name], value), name


def test_another_seed_starts_with_other_weights():
    one, same, other = (build_model(make_spec("cnn", "batch", seed=s), DIGITS) for s in (0, 0, 1))
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


@pytest.mark.parametrize(
    "model", ["torchvision:mobilenet_v3_small", "timm:resnet18", "timm:convnext_atto"]
)
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
    with on_meta():
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
    survey = survey_norms(build_bare_model(make_spec("timm:resnet10t"), info), info.shape)
    keeping = [name for name in KINDS if name not in ("none", "lrn-channels")]
    for norm in keeping:
        built, _ = build_with_report(make_spec("timm:resnet10t", norm), info, survey)
        last = built.get_submodule("layer1.0.bn2")
        first = built.get_submodule("layer1.0.bn1")
        gain = {name: p for name, p in last.named_parameters() if name.endswith("weight")}
        assert gain
        assert not any(bool(p.any()) for p in gain.values())
        assert all(bool(p.all()) for n, p in first.named_parameters() if n.endswith("weight"))
    for norm in ("none", "lrn-channels", "lrn-space"):
        _, report = build_with_report(make_spec("timm:resnet10t", norm), info, survey)
        assert any("began at zero gain" in note for note in report.notes)


def test_weights_standardized_by_a_library_are_no_norms_of_activations():
    with on_meta():
        _, report = build_with_report(make_spec("timm:nf_resnet26", "none"), colour(224))
        assert report.replaced == ()
        _, report = build_with_report(make_spec("timm:nf_resnet26", "batch"), colour(224))
    assert "the model has no norms" in report.notes[0]
