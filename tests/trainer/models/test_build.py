"""Models: from a spec to logits; their start, their dropout, and names that do not exist."""

import pytest
import torch
from torch import nn

from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.errors import ModelError
from trainer.models.build import build_model, count_parameters, initialise, input_shape
from trainer.spec.model import NormalInit

COLOUR = make_info(shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


def dropout(p, where):
    return [{"kind": "dropout", "p": p, "where": where}]


def dropouts(model):
    return {n: m.p for n, m in model.named_modules() if isinstance(m, nn.Dropout) and m.p > 0}


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        # Weights, then two per normalized unit, then the classifier.
        ("mlp", 64 * 100 + 2 * 100 * 100 + 3 * 2 * 100 + 1010),
        ("cnn", 9 * (32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128) + 1290),
        ("resnet20", None),
    ],
)
def test_own_models_have_the_layers_of_their_definition(model, parameters):
    built = build_model(make_spec(model), DIGITS)
    assert built(torch.randn(5, 1, 8, 8)).shape == (5, 10)
    assert parameters is None or count_parameters(built) == parameters


def test_resnet20_has_the_published_number_of_parameters():
    # He et al. 2016, table 6: 0.27 million; option A's shortcuts have none.
    built = build_model(make_spec("resnet20"), COLOUR)
    assert count_parameters(built) == 269_722
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in built.modules()) == 20


@pytest.mark.parametrize("activation", ["relu", "gelu", "sigmoid", "tanh"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_activation_is_the_one_of_the_spec(name, activation):
    built = build_model(make_spec({"name": name, "activation": activation}), DIGITS)
    assert type(built.activation1).__name__.lower() == activation


def test_the_image_size_is_that_of_the_dataset_spec():
    spec = make_spec("mlp", dataset={"name": "digits", "image_size": 12})
    assert input_shape(spec, DIGITS) == (1, 12, 12)
    assert build_model(spec, DIGITS).linear1.in_features == 144


@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet20"])
def test_a_normal_init_reaches_every_weight_and_zeroes_every_bias(model):
    built = build_model(make_spec(model, init={"kind": "normal", "std": 0.01}), DIGITS)
    for module in built.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if module.weight.numel() > 500:
                assert module.weight.detach().std().item() == pytest.approx(0.01, rel=0.15)
            assert module.bias is None or not module.bias.any()


def test_a_normal_init_reaches_the_weights_inside_an_attention():
    attention = nn.MultiheadAttention(64, 2)
    initialise(attention, NormalInit(kind="normal", std=0.01))
    for weight in (attention.in_proj_weight, attention.out_proj.weight):
        assert weight.detach().std().item() == pytest.approx(0.01, rel=0.05)
    assert not attention.in_proj_bias.any()


def test_dropout_follows_every_hidden_activation_or_precedes_the_classifier():
    hidden = build_model(make_spec("cnn", regularization=dropout(0.3, "hidden")), DIGITS)
    assert dropouts(hidden) == {"dropout1": 0.3, "dropout2": 0.3, "dropout3": 0.3}
    names = list(dict(hidden.named_children()))
    assert [names[names.index(f"dropout{n}") - 1] for n in (1, 2, 3)] == [
        "activation1",
        "activation2",
        "activation3",
    ]
    head = build_model(make_spec("cnn", regularization=dropout(0.3, "head")), DIGITS)
    assert dropouts(head) == {"head_dropout": 0.3}
    assert list(dict(head.named_children()))[-2:] == ["head_dropout", "classifier"]
    deep = build_model(make_spec("resnet20", regularization=dropout(0.3, "hidden")), DIGITS)
    assert len(dropouts(deep)) == 19


@pytest.mark.parametrize("where", ["hidden", "head"])
@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet20"])
def test_dropout_changes_neither_names_nor_values_of_the_weights(model, where):
    plain = build_model(make_spec(model), DIGITS).state_dict()
    dropped = build_model(make_spec(model, regularization=dropout(0.5, where)), DIGITS)
    assert dropped.state_dict().keys() == plain.keys()
    assert all(torch.equal(value, plain[name]) for name, value in dropped.state_dict().items())


def test_hidden_dropout_in_a_library_model_is_its_own_layers():
    spec = make_spec("torchvision:mobilenet_v3_small", regularization=dropout(0.4, "hidden"))
    with torch.device("meta"):
        assert dropouts(build_model(spec, COLOUR)) == {"classifier.2": 0.4}


def test_hidden_dropout_is_refused_where_a_library_model_has_no_place_for_it():
    weight_decay = {"kind": "weight_decay", "value": 0.1}
    spec = make_spec("torchvision:resnet18", regularization=[weight_decay, *dropout(0.4, "hidden")])
    with pytest.raises(ModelError, match="has no dropout layers") as error, torch.device("meta"):
        build_model(spec, COLOUR)
    assert error.value.pointer == "/regularization/1/where"
    assert error.value.remedy == "where: head"


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("timm:resnet18", "fc"),
        ("torchvision:mobilenet_v3_small", "classifier.3"),
    ],
)
def test_head_dropout_comes_before_the_last_linear_layer_under_its_old_names(model, layer):
    plain = build_model(make_spec(model), COLOUR)
    built = build_model(make_spec(model, regularization=dropout(0.4, "head")), COLOUR)
    assert dropouts(built)[f"{layer}.dropout"] == 0.4
    assert built.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(built.eval()(x), plain.eval()(x))


def test_head_dropout_drops_in_training():
    built = build_model(make_spec("timm:resnet18", regularization=dropout(0.5, "head")), COLOUR)
    for module in built.modules():
        module.train(isinstance(module, nn.Dropout))
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(built(x), built(x))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("torchvision:resnet19", "torchvision:resnet18"),
        ("timm:convnext_ato", "timm:convnext_atto"),
        ("timm:resnet18.bogus", "timm:resnet18"),
        ("torchvision:fasterrcnn_resnet50_fpn", ""),
        ("timm:zzzz", "names that timm lists"),
    ],
)
def test_an_unknown_library_model_is_refused_with_near_names(name, near):
    with pytest.raises(ModelError) as error:
        build_model(make_spec(name), COLOUR)
    assert near in error.value.remedy
    assert error.value.pointer == "/model/name"


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_library_models_take_grey_images_and_the_classes_of_the_dataset(name):
    spec = make_spec(name, "group", dataset={"name": "digits", "image_size": 32})
    built = build_model(spec, make_info(classes=("a", "b", "c")))
    assert built(torch.randn(2, 1, 32, 32)).shape == (2, 3)


def test_an_adapted_input_keeps_the_variance_of_its_output():
    spec = make_spec("torchvision:resnet18", dataset={"name": "digits", "image_size": 64})
    grey, colour = build_model(spec, DIGITS), build_model(spec, COLOUR)
    with torch.no_grad():
        outputs = [
            model.conv1(torch.randn(4, model.conv1.in_channels, 64, 64)).std().item()
            for model in (grey, colour)
        ]
    assert outputs[0] == pytest.approx(outputs[1], rel=0.1)


def test_a_vision_transformer_is_built_for_the_images_there_are():
    spec = make_spec("torchvision:vit_b_16", "layer", dataset={"name": "digits", "image_size": 32})
    with torch.device("meta"):
        built = build_model(spec, DIGITS)
    assert built.encoder.pos_embedding.shape[1] == 5
