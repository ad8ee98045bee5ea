"""Which gains begin at zero is known without values."""

import pytest
import torch
from torch import nn

from tests.support.trainer_specs import make_info, make_spec
from trainer.models.build import build_bare_model
from trainer.models.zero_gains import ZeroFills
from trainer.surgery import on_meta

INFO = make_info(shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("timm:test_nfnet", 4),
        ("timm:resnet10t", 4),
        ("timm:regnetx_002", 13),
        ("torchvision:resnet18", 0),
        ({"name": "resnet20", "width": 4, "skip_init": True}, 9),
        ({"name": "resnet20", "width": 4}, 0),
    ],
)
def test_the_gains_found_are_those_that_are_zero_once_the_model_has_values(model, count):
    spec = make_spec(model)
    with on_meta(), ZeroFills() as fills:
        found = fills.find_gains(build_bare_model(spec, INFO))
    built = build_bare_model(spec, INFO).named_parameters()
    zero = [name for name, one in built if not one.any() and not name.endswith("bias")]
    assert sorted(found) == sorted(zero)
    assert len(found) == count


def test_a_gain_that_is_filled_again_does_not_begin_at_zero():
    with torch.device("meta"), ZeroFills() as fills:
        model = nn.Sequential(*(nn.BatchNorm2d(2) for _ in range(5)))
        for norm in model:
            nn.init.zeros_(norm.weight)
        nn.init.constant_(model[1].weight, 0.5)
        nn.init.normal_(model[2].weight)
        model[3].weight.requires_grad_(False)
        with torch.no_grad():
            model[4].weight.fill_(1)
    assert fills.find_gains(model) == ("0.weight", "3.weight")
