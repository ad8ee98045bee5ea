"""What drops: how much, what together, and that it keeps the mean."""

import copy
import math
import random

import numpy
import pytest
import torch
from torch import nn

from tests.support.catalogue import CATALOGUE
from tests.support.trainings import load_data
from trainer.layers.dropout import (
    BlockDropout,
    BranchDropout,
    DropoutLinear,
    drop_probability,
    drop_weights,
    drops,
    has_ramp,
    may_draw,
    set_progress,
    start_dropping,
)
from trainer.models.build import build_model
from trainer.spec.job import JobSpec

torch.set_num_threads(1)

#: Two-sided error rate of one in a million for each test of a mean.
Z_LIMIT = 4.891638


def drop_connected(layer, p=0.4):
    assert drop_weights(layer, p)
    return layer


LAYERS = {
    "dropout": lambda: nn.Dropout(0.4),
    "channels": lambda: nn.Dropout2d(0.4),
    "blocks": lambda: BlockDropout(0.4, 3, "each"),
    "shared blocks": lambda: BlockDropout(0.4, 2, "all"),
    "branch per sample": lambda: BranchDropout(0.4, "sample"),
    "branch per batch": lambda: BranchDropout(0.4, "batch"),
    "weights of a convolution": lambda: drop_connected(nn.Conv2d(4, 5, 3)),
    "weights of a linear layer": lambda: drop_connected(nn.Linear(6, 5)),
    "input of a linear layer": lambda: DropoutLinear(nn.Linear(6, 5), 0.4),
}
layers = pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)


def seeded_maps(seed=0, samples=8, size=6):
    return torch.rand(samples, 4, size, size, generator=torch.Generator().manual_seed(seed))


def z_score(values, expected):
    """How many standard errors the mean of the values is away from what is expected."""
    values = torch.as_tensor(values, dtype=torch.float64)
    return ((values.mean() - expected) / (values.std() / math.sqrt(len(values)))).item()


@layers
def test_what_drops_says_so_and_with_which_probability(build):
    found = [drop_probability(module) for module in build().modules() if drops(module)]
    assert found == [0.4]


@layers
def test_dropping_is_the_identity_in_evaluation(build):
    layer = build().eval()
    plain = nn.Identity()
    if isinstance(layer, nn.Linear):
        plain = nn.Linear(6, 5)
    if isinstance(layer, nn.Conv2d):
        plain = nn.Conv2d(4, 5, 3)
    plain.load_state_dict(layer.state_dict())
    x = seeded_maps()
    assert torch.equal(layer(x), plain(x))


@pytest.mark.parametrize("name", [name for name in LAYERS if "blocks" not in name])
def test_dropping_keeps_the_mean_in_training(name):
    layer, x = LAYERS[name](), seeded_maps()
    expected = layer.eval()(x).double().sum().item()
    layer.train()
    torch.manual_seed(1)
    with torch.no_grad():
        sums = [layer(x).double().sum().item() for _ in range(1000)]
    assert len(set(sums)) > 1
    assert abs(z_score(sums, expected)) < Z_LIMIT


@layers
def test_equal_seeds_drop_the_same_and_other_seeds_something_else(build):
    layer, outputs = build().train(), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        outputs.append(layer(seeded_maps()))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_building_what_drops_draws_nothing():
    linear = nn.Linear(6, 5)
    before = torch.get_rng_state()
    BlockDropout(0.4, 3, "each")
    BranchDropout(0.4, "batch")
    DropoutLinear(linear, 0.4)
    drop_connected(linear)
    assert torch.equal(before, torch.get_rng_state())


@layers
def test_dropping_works_in_float64_on_meta_and_in_copies(build):
    layer, x = build().train(), seeded_maps()
    torch.manual_seed(2)
    doubled = copy.deepcopy(layer).double()
    assert doubled(x.double()).dtype == torch.float64
    assert copy.deepcopy(layer).to("meta")(x.to("meta")).shape == layer(x).shape
    torch.manual_seed(3)
    first = copy.deepcopy(layer)(x)
    torch.manual_seed(3)
    assert torch.equal(first, layer(x))


@layers
def test_gradients_flow_through_what_is_kept_alone(build):
    layer, x = build().train(), seeded_maps().requires_grad_()
    torch.manual_seed(4)
    layer(x).square().sum().backward()
    assert all(one.grad.isfinite().all() for one in (x, *layer.parameters()))
    assert any(one.grad.any() for one in (x, *layer.parameters()))
    if isinstance(layer, BlockDropout | BranchDropout):
        torch.manual_seed(4)
        assert torch.equal(x.grad == 0, layer(x) == 0)


def test_spatial_dropout_drops_whole_channels():
    torch.manual_seed(0)
    kept = nn.Dropout2d(0.5)(torch.ones(16, 8, 5, 5)) != 0
    assert torch.equal(kept, kept[..., :1, :1].expand_as(kept))
    assert 0 < kept.float().mean() < 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("channels", ["each", "all"])
def test_every_dropped_pixel_lies_in_a_block_that_is_dropped_whole(size, channels):
    torch.manual_seed(0)
    dropped = BlockDropout(0.3, size, channels)(torch.ones(32, 3, 7, 9)) == 0
    whole = dropped.unfold(2, size, 1).unfold(3, size, 1).all(-1).all(-1)
    again = torch.zeros_like(dropped)
    for row in range(size):
        for column in range(size):
            height, width = whole.shape[2:]
            again[..., row : row + height, column : column + width] |= whole
    assert torch.equal(again, dropped)
    same = torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert same == (channels == "all")
    assert 0 < dropped.float().mean() < 1


@pytest.mark.parametrize(("size", "side"), [(1, 6), (2, 6), (3, 7), (7, 8), (4, 4)])
def test_blocks_cover_as_many_pixels_as_equation_1_says(size, side):
    p, inside = 0.2, side - size + 1
    gamma = p * side**2 / (size**2 * inside**2)
    around = [min(i, inside - 1) - max(0, i - size + 1) + 1 for i in range(side)]
    covered = [1 - (1 - gamma) ** (a * b) for a in around for b in around]
    torch.manual_seed(0)
    layer = BlockDropout(p, size, "all")
    shares = [(layer(torch.ones(16, 1, side, side)) == 0).double().mean() for _ in range(400)]
    assert abs(z_score(shares, sum(covered) / side**2)) < Z_LIMIT
    # Blocks overlap, so p is a bound that is met where only one fits.
    assert sum(covered) / side**2 <= p + 1e-12


@pytest.mark.parametrize("channels", ["each", "all"])
def test_a_batch_that_lost_blocks_is_scaled_by_what_it_kept(channels):
    torch.manual_seed(0)
    for _ in range(20):
        out = BlockDropout(0.4, 3, channels)(torch.ones(4, 3, 8, 8, dtype=torch.float64))
        assert out.mean().item() == pytest.approx(1.0, abs=1e-12)
        assert len(out.unique()) == 2


def test_a_block_larger_than_the_map_drops_it_whole_with_probability_p():
    torch.manual_seed(0)
    layer = BlockDropout(0.3, 99, "each")
    out = layer(torch.ones(4000, 2, 2, 3)) == 0
    assert torch.equal(out, out[..., :1, :1].expand_as(out))
    assert abs(z_score(out[..., 0, 0].flatten(), 0.3)) < Z_LIMIT


def test_a_batch_of_which_nothing_is_kept_is_zero_and_not_nan():
    torch.manual_seed(0)
    layer = BlockDropout(0.99, 4, "all")
    outputs = torch.stack([layer(torch.ones(1, 2, 4, 4)) for _ in range(50)])
    assert outputs.isfinite().all()
    assert (outputs == 0).flatten(1).all(1).any()


def test_a_ramped_block_follows_the_progress_and_is_no_part_of_the_state():
    layer = BlockDropout(0.4, 2, "each", ramp=True)
    model = nn.Sequential(layer)
    assert has_ramp(model)
    assert not has_ramp(nn.Sequential(BlockDropout(0.4, 2, "each")))
    assert model.state_dict() == {}
    x = seeded_maps()
    set_progress(model, 0.0)
    assert torch.equal(model(x), x)
    rates = []
    for fraction in (0.25, 0.5, 1.0):
        set_progress(model, fraction)
        rates.append(layer.rate.item())
    assert rates == pytest.approx([0.1, 0.2, 0.4])
    set_progress(model, 0.5)
    twin = nn.Sequential(BlockDropout(0.4, 2, "each", ramp=True))
    set_progress(twin, 0.5)
    torch.manual_seed(0)
    first = model(x)
    torch.manual_seed(0)
    assert torch.equal(first, twin(x))


def test_a_block_without_a_ramp_ignores_the_progress():
    layer = BlockDropout(0.4, 2, "each")
    set_progress(layer, 0.0)
    assert layer.rate.item() == pytest.approx(0.4)


def test_a_branch_is_dropped_per_sample_or_for_the_whole_batch():
    torch.manual_seed(0)
    per_sample = BranchDropout(0.5, "sample")(torch.ones(64, 3, 2, 2)) != 0
    assert torch.equal(per_sample, per_sample[:, :1, :1, :1].expand_as(per_sample))
    assert 0 < per_sample.float().mean() < 1
    per_batch = [BranchDropout(0.5, "batch")(torch.ones(64, 3, 2)) for _ in range(20)]
    assert {len(out.unique()) for out in per_batch} == {1}
    assert {out.max().item() for out in per_batch} == {0.0, 2.0}


def test_drop_connect_draws_one_mask_for_the_batch_over_single_weights():
    torch.manual_seed(0)
    layer = drop_connected(nn.Linear(50, 7, bias=False), 0.5)
    nn.init.ones_(layer.weight)
    rows = layer(torch.eye(50))
    assert 0.3 < (rows == 0).float().mean() < 0.7
    assert set(rows.unique().tolist()) == {0.0, 2.0}
    same = layer(torch.ones(5, 50))
    assert torch.equal(same, same[:1].expand_as(same))


def test_drop_connect_leaves_alone_a_layer_of_a_kind_of_its_own():
    class Odd(nn.Linear):
        pass

    layer = Odd(3, 3)
    assert not drop_weights(layer, 0.5)
    assert type(layer) is Odd


def test_dropping_starts_in_evaluation_without_waking_anything_else():
    model = nn.Sequential(
        nn.BatchNorm2d(4),
        BlockDropout(0.5, 2, "each", ramp=True),
        drop_connected(nn.Conv2d(4, 4, 3)),
    ).eval()
    set_progress(model, 0.0)
    start_dropping(model)
    assert [module.training for module in model] == [False, True, True]
    assert model[1].rate.item() == pytest.approx(0.5)
    before = model[0].running_mean.clone()
    assert not torch.equal(model(seeded_maps()), model(seeded_maps()))
    assert torch.equal(model[0].running_mean, before)


def test_the_libraries_own_layers_are_known_by_their_names():
    import timm.layers
    import torchvision.ops

    known = [
        torchvision.ops.StochasticDepth(0.2, "row"),
        torchvision.ops.DropBlock2d(0.2, 3),
        timm.layers.DropPath(0.2),
        timm.layers.DropBlock2d(0.2),
        timm.layers.PatchDropout(0.2),
        nn.MultiheadAttention(4, 2, dropout=0.2),
    ]
    assert [drop_probability(layer) for layer in known] == [0.2] * len(known)
    assert not drops(timm.layers.DropPath(0.0))
    assert not drops(nn.Linear(2, 2))


def generators() -> tuple[object, ...]:
    array = numpy.random.get_state()
    return random.getstate(), array[1].tobytes(), array[2], torch.get_rng_state().tolist()


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_model_that_is_known_not_to_draw_leaves_all_generators_alone(name):
    spec = JobSpec.model_validate(CATALOGUE[name])
    info = load_data(spec).info
    model = build_model(spec, info).train()
    size = spec.dataset.image_size
    before = generators()
    model(torch.ones(4, *(info.shape if size is None else (info.shape[0], size, size))))
    assert may_draw(model) or generators() == before
    drops_something = any(drops(module) for module in model.modules())
    assert may_draw(model) or not drops_something


@pytest.mark.parametrize("name", ["models/mlp", "models/cnn", "models/resnet20", "norms/group"])
def test_usual_models_are_known_not_to_draw(name):
    spec = JobSpec.model_validate(CATALOGUE[name])
    assert not may_draw(build_model(spec, load_data(spec).info))


def test_a_module_that_is_not_known_may_draw():
    class Noisy(nn.Linear):
        pass

    assert may_draw(nn.Sequential(nn.Linear(2, 2), Noisy(2, 2)))
    assert may_draw(nn.Sequential(nn.Dropout(0.0)))
