"""Every norm on every layout against its formula in float64 NumPy: forward, statistics, gradient."""

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import Any

import numpy
import pytest
import scipy.special
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn import functional

from tests.support.catalogue import NORMS
from trainer.errors import SurgeryError
from trainer.layers.norms import BatchRenorm
from trainer.spec.layouts import LAYOUTS, Layout, find_gap, tabulate
from trainer.spec.norm import NormSpec
from trainer.surgery.build_norm import (
    bare_norm,
    build_norm,
    takes_activation,
    uses_batch_statistics,
)

Array = NDArray[numpy.float64]

SAMPLES, CHANNELS = 6, 8
SHAPES: dict[Layout, tuple[int, ...]] = {
    "N,C": (SAMPLES, CHANNELS),
    "N,C,L": (SAMPLES, CHANNELS, 5),
    "N,L,C": (SAMPLES, 5, CHANNELS),
    "N,C,H,W": (SAMPLES, CHANNELS, 4, 3),
    "N,H,W,C": (SAMPLES, 4, 3, CHANNELS),
}


def parse(document: dict[str, Any]) -> Any:
    return TypeAdapter(NormSpec).validate_python(document)


SPECS = {name: parse(document) for name, document in NORMS.items()} | {
    # Two virtual batches of four and two; a ramp that is over at once; AlexNet's window with others'.
    "ghost_batch": parse({"kind": "ghost_batch", "virtual_batch_size": 4}),
    "batch_renorm-at-once": parse({"kind": "batch_renorm", "r_max": 1.5, "d_max": 0.5}),
    "lrn-paper": parse({"kind": "lrn"}),
    "lrn-other-beta": parse({"kind": "lrn", "n": 3, "k": 1.0, "alpha": 0.5, "beta": 0.6}),
    "evonorm-one-group": parse({"kind": "evonorm", "groups": 1}),
}
CELLS = [(n, cell) for n, cell in product(SPECS, LAYOUTS) if find_gap(SPECS[n], cell) is None]
EMPTY = [(n, cell) for n, cell in product(SPECS, LAYOUTS) if find_gap(SPECS[n], cell) is not None]


# --- The definitions, written with loops over numpy arrays N, C, positions; x is never torch's. ---


class Reference:
    """One norm with its running statistics, as its paper says."""

    def __init__(self, spec: Any, tokens: bool, parameters: dict[str, Array]) -> None:
        self.spec, self.tokens, self.p = spec, tokens, parameters
        self.mean, self.var = numpy.zeros(CHANNELS), numpy.ones(CHANNELS)
        self.std, self.steps = numpy.ones(CHANNELS), 0

    def __call__(self, x: Array, training: bool) -> Array:
        flat = x.reshape(len(x), CHANNELS, -1)
        kind = self.spec.kind
        compute: Callable[..., Array] = getattr(self, f"_{kind}")
        y = compute(x if kind == "lrn" else flat, training).reshape(x.shape)
        if "weight" in self.p:
            shape = (1, -1, *(1 for _ in x.shape[2:]))
            y = y * self.p["weight"].reshape(shape)
            if "bias" in self.p:
                y = y + self.p["bias"].reshape(shape)
        if kind == "filter_response" and self.spec.tlu:
            y = numpy.maximum(y, self.p["threshold"].reshape(shape))
        return y

    def _none(self, x: Array, training: bool) -> Array:
        return x

    def _normalized(self, x: Array, blocks: Iterator[tuple[Any, ...]]) -> Array:
        """Each block of x by its own mean and biased variance."""
        y = numpy.empty_like(x)
        for block in blocks:
            values = x[block]
            y[block] = (values - values.mean()) / numpy.sqrt(values.var() + self.spec.eps)
        return y

    def _batch(self, x: Array, training: bool) -> Array:
        y = numpy.empty_like(x)
        for c in range(CHANNELS):
            values = x[:, c]
            mean, var = (values.mean(), values.var()) if training else (self.mean[c], self.var[c])
            y[:, c] = (values - mean) / numpy.sqrt(var + self.spec.eps)
            if training:
                m, count = self.spec.momentum, values.size
                self.mean[c] = (1 - m) * self.mean[c] + m * values.mean()
                self.var[c] = (1 - m) * self.var[c] + m * values.var() * count / (count - 1)
        return y

    def _ghost_batch(self, x: Array, training: bool) -> Array:
        if not training:
            return self._batch(x, training)
        size = self.spec.virtual_batch_size
        parts = [self._batch(x[n : n + size], training) for n in range(0, len(x), size)]
        return numpy.concatenate(parts)

    def _batch_renorm(self, x: Array, training: bool) -> Array:
        spec, y = self.spec, numpy.empty_like(x)
        done = self.steps - spec.plain_steps
        share = min(max(done / spec.ramp_steps, 0), 1) if spec.ramp_steps else float(done >= 0)
        r_max, d_max = 1 + share * (spec.r_max - 1), share * spec.d_max
        for c in range(CHANNELS):
            values = x[:, c]
            if not training:
                y[:, c] = (values - self.mean[c]) / self.std[c]
                continue
            mean, std = values.mean(), numpy.sqrt(values.var() + spec.eps)
            r = numpy.clip(std / self.std[c], 1 / r_max, r_max)
            d = numpy.clip((mean - self.mean[c]) / self.std[c], -d_max, d_max)
            y[:, c] = (values - mean) / std * r + d
            self.mean[c] += spec.momentum * (mean - self.mean[c])
            self.std[c] += spec.momentum * (std - self.std[c])
        self.steps += training
        return y

    def _layer(self, x: Array, training: bool) -> Array:
        if self.spec.axes == "channels" or self.tokens:
            each = product(range(len(x)), range(x.shape[2]))
            return self._normalized(x, ((n, slice(None), p) for n, p in each))
        return self._normalized(x, ((n,) for n in range(len(x))))

    def _instance(self, x: Array, training: bool) -> Array:
        return self._normalized(x, product(range(len(x)), range(CHANNELS)))

    def _group(self, x: Array, training: bool) -> Array:
        size = self.spec.channels_per_group or CHANNELS // self.spec.groups
        starts = range(0, CHANNELS, size)
        each = product(range(len(x)), starts)
        return self._normalized(x, ((n, slice(c, c + size)) for n, c in each))

    def _rms(self, x: Array, training: bool) -> Array:
        return x / numpy.sqrt((x**2).mean(1, keepdims=True) + self.spec.eps)

    def _lrn(self, x: Array, training: bool) -> Array:
        spec, y, half = self.spec, numpy.empty_like(x), self.spec.n // 2
        for index in numpy.ndindex(*x.shape):
            n, c, *position = index
            if spec.across == "channels":
                window = x[n, max(0, c - half) : c + half + 1, *position]
            else:
                i, j = position
                rows, columns = (
                    slice(max(0, i - half), i + half + 1),
                    slice(max(0, j - half), j + half + 1),
                )
                window = x[n, c, rows, columns]
            y[index] = x[index] / (spec.k + spec.alpha * (window**2).sum()) ** spec.beta
        return y

    def _filter_response(self, x: Array, training: bool) -> Array:
        return x / numpy.sqrt((x**2).mean(2, keepdims=True) + self.spec.eps)

    def _evonorm(self, x: Array, training: bool) -> Array:
        v, eps = self.p["v"].reshape(1, -1, 1), self.spec.eps
        if self.spec.form == "S0":
            y, size = x / (1 + numpy.exp(-v * x)), CHANNELS // self.spec.groups
            for n, c in product(range(len(x)), range(0, CHANNELS, size)):
                y[n, c : c + size] /= numpy.sqrt(x[n, c : c + size].var() + eps)
            return y
        y = numpy.empty_like(x)
        for c in range(CHANNELS):
            values = x[:, c]
            var = values.var() if training else self.var[c]
            instance = numpy.sqrt(values.var(1, keepdims=True) + eps)
            own = self.p["v"][c] * values + instance
            y[:, c] = values / numpy.maximum(numpy.sqrt(var + eps), own)
            if training:
                m, count = self.spec.momentum, values.size
                self.var[c] = (1 - m) * self.var[c] + m * values.var() * count / (count - 1)
        return y

    def _dynamic_tanh(self, x: Array, training: bool) -> Array:
        return numpy.tanh(self.p["alpha"] * x)

    def _derf(self, x: Array, training: bool) -> Array:
        return scipy.special.erf(self.p["alpha"] * x + self.p["shift"])


def make(name: str, layout: Layout) -> nn.Module:
    layer = build_norm(SPECS[name], CHANNELS, layout).double()
    torch.manual_seed(1)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return layer


def draw(layout: Layout, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return 0.7 + 2 * torch.randn(SHAPES[layout], generator=source, dtype=torch.float64)


def refer(name: str, layout: Layout, layer: nn.Module) -> Reference:
    values = {key: one.detach().numpy() for key, one in bare_norm(layer).named_parameters()}
    return Reference(SPECS[name], layout == "N,L,C", values)


def channels_second(x: torch.Tensor, layout: Layout) -> Array:
    return (x.movedim(-1, 1) if layout in ("N,L,C", "N,H,W,C") else x).detach().numpy()


def assert_close(found: torch.Tensor, expected: Array, layout: Layout) -> None:
    numpy.testing.assert_allclose(channels_second(found, layout), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "layout"), CELLS)
def test_in_training_and_after_it_the_output_is_the_definition(name, layout):
    layer = make(name, layout)
    reference = refer(name, layout, layer)
    # Nine steps: batch renorm is plain for three and at its limits after five more.
    for step in range(9):
        x = draw(layout, step)
        assert_close(layer(x), reference(channels_second(x, layout), training=True), layout)
    layer.eval()
    x = draw(layout, 99)
    assert_close(layer(x), reference(channels_second(x, layout), training=False), layout)


#: What varies fastest in memory; `sliced` is every other number of something larger.
MEMORY_ORDERS = ("positions", "channels", "sliced")
#: Norms that subtract no mean have nothing that could cancel.
_NO_MEAN = ("none", "lrn", "rms", "filter_response", "dynamic_tanh", "derf")
MAPS = [
    (name, layout) for name, layout in CELLS if layout != "N,C" and SPECS[name].kind not in _NO_MEAN
]


def lay_out(x: Array, layout: Layout, order: str) -> torch.Tensor:
    """Float32 N, C, H, W as this layout, with this order in memory."""
    second = torch.from_numpy(x).float()
    if layout in ("N,C,L", "N,L,C"):
        second = second.flatten(2)
    match order:
        case "channels":
            second = second.movedim(1, -1).contiguous().movedim(-1, 1)
        case "sliced":
            second = torch.stack((second, second), -1)[..., 0]
    return second.movedim(1, -1) if layout in ("N,L,C", "N,H,W,C") else second


@pytest.mark.parametrize("mean", [0, 1000], ids="mean={}".format)
@pytest.mark.parametrize(("name", "layout"), MAPS)
def test_a_large_mean_costs_no_more_digits_in_one_memory_order_than_in_another(name, layout, mean):
    source = numpy.random.default_rng(0)
    x = source.normal(2.0 * mean, 2.0, (4, CHANNELS, 16, 16)).astype("float32").astype("float64")
    upstream = source.normal(size=x.shape).astype("float32").astype("float64")
    layer = make(name, layout).float()
    exact = copy.deepcopy(layer).double()
    expected = (
        refer(name, layout, exact)(x, training=True),
        exact_gradient(exact, x, upstream, layout),
    )

    def errors(order: str) -> list[float]:
        given = lay_out(x, layout, order).requires_grad_()
        y = copy.deepcopy(layer)(given)
        y.backward(lay_out(upstream, layout, order))
        found = (channels_second(one, layout).reshape(x.shape) for one in (y, given.grad))
        return [abs(one - other).max() for one, other in zip(found, expected, strict=True)]

    reached = errors("positions")
    assert reached[0] < 1e-6 * max(1, mean)
    for order in MEMORY_ORDERS:
        for error, least in zip(errors(order), reached, strict=True):
            assert error <= max(4 * least, 2e-6), order


def exact_gradient(layer: nn.Module, x: Array, upstream: Array, layout: Layout) -> Array:
    """Of the input, in float64."""
    given = lay_out(x, layout, "positions").double().requires_grad_()
    layer(given).backward(lay_out(upstream, layout, "positions").double())
    assert given.grad is not None
    return channels_second(given.grad, layout).reshape(x.shape)


@pytest.mark.parametrize("name", ["layer", "group"])
def test_digits_are_kept_on_maps_of_one_position(name):
    """Such a tensor is contiguous in both formats, but torch takes the kernel that its strides ask for."""
    x = torch.randn(4, CHANNELS, 1, 1) + 1000
    layer = make(name, "N,C,H,W").float()
    found = layer(torch.empty(4, 1, 1, CHANNELS).permute(0, 3, 1, 2).copy_(x))
    assert torch.allclose(found, layer.double()(x.double()).float(), atol=1e-3)


@pytest.mark.parametrize("name", ["layer", "group", "batch"])
def test_a_contiguous_tensor_gives_what_torchs_own_layer_gives_bit_for_bit(name):
    layer, x = make(name, "N,C,H,W").float(), draw("N,C,H,W").float()
    stock = (
        nn.BatchNorm2d(CHANNELS) if name == "batch" else nn.GroupNorm(layer.num_groups, CHANNELS)
    )
    stock.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x), stock(x))


def test_a_single_value_per_channel_has_no_variance_in_any_memory_order():
    layer = make("batch", "N,H,W,C").float()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(torch.ones(1, 1, 1, CHANNELS))


@pytest.mark.parametrize("layout", ["N,C,H,W", "N,H,W,C"])
@pytest.mark.parametrize("name", ["batch", "ghost_batch", "evonorm-B0", "batch_renorm"])
def test_running_statistics_follow_the_paper(name, layout):
    layer = make(name, layout)
    reference = refer(name, layout, layer)
    for step in range(3):
        x = draw(layout, step)
        layer(x)
        reference(channels_second(x, layout), training=True)
    layer = bare_norm(layer)
    if name == "batch_renorm":
        assert layer.running_std.numpy() == pytest.approx(reference.std, rel=1e-12)
        assert layer.running_var.numpy() == pytest.approx(reference.std**2 - 1e-5, rel=1e-10)
    else:
        assert layer.running_var.numpy() == pytest.approx(reference.var, rel=1e-12)
    if name != "evonorm-B0":
        assert layer.running_mean.numpy() == pytest.approx(reference.mean, abs=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["batch", "ghost_batch", "evonorm-B0", "batch_renorm"])
def test_without_a_momentum_running_statistics_are_the_mean_over_the_batches(name, memory_format):
    layer = make(name, "N,C,H,W")
    layer(draw("N,C,H,W", 5))
    layer.reset_running_stats()
    layer.momentum = None
    batches = [draw("N,C,H,W", step)[:4] for step in range(3)]
    for x in batches:
        layer(x.to(memory_format=memory_format))
    variances = torch.stack([x.var((0, 2, 3)) for x in batches])
    if name == "batch_renorm":
        biased = torch.stack([x.var((0, 2, 3), correction=0) for x in batches])
        assert torch.allclose(layer.running_std, (biased + 1e-5).sqrt().mean(0), rtol=1e-12)
    else:
        assert torch.allclose(layer.running_var, variances.mean(0), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("name", "layout"), CELLS)
def test_gradients_are_those_of_the_function(name, layout, training):
    layer = make(name, layout).train(training)
    if isinstance(bare_norm(layer), BatchRenorm) and training:
        return  # its r and d are held constant: the test below
    names, values = (
        zip(*layer.named_parameters(), strict=True) if list(layer.parameters()) else ((), ())
    )

    def function(x, *parameters):
        twin = copy.deepcopy(layer)
        return torch.func.functional_call(twin, dict(zip(names, parameters, strict=True)), (x,))

    x = draw(layout)[:4].requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *values), fast_mode=True)


def test_batch_renorm_is_differentiated_with_r_and_d_held_constant():
    layer = make("batch_renorm-at-once", "N,C,H,W")
    for step in range(4):
        layer(draw("N,C,H,W", step))
    x = draw("N,C,H,W", 7).requires_grad_()
    with torch.no_grad():
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        r = ((variance + 1e-5).sqrt() / layer.running_std).clamp(1 / 1.5, 1.5)
        d = ((mean - layer.running_mean) / layer.running_std).clamp(-0.5, 0.5)
        assert (r == 1.5).any() or (d.abs() == 0.5).any()

    def frozen(x):
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        shaped = [one.detach().view(1, -1, 1, 1) for one in (r, d, layer.weight, layer.bias)]
        normalized = (x - mean) / (variance + 1e-5).sqrt() * shaped[0] + shaped[1]
        return normalized * shaped[2] + shaped[3]

    assert torch.autograd.gradcheck(frozen, (x,), fast_mode=True)
    expected, given = frozen(x), torch.randn(x.shape, dtype=torch.float64)
    found = layer(x)
    assert torch.allclose(found, expected, atol=1e-12)
    gradients = [torch.autograd.grad(one, x, given)[0] for one in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-12)


@pytest.mark.parametrize(("name", "layout"), EMPTY)
def test_empty_cells_of_the_table_are_refused_with_the_reason(name, layout):
    gap = find_gap(SPECS[name], layout)
    with pytest.raises(SurgeryError, match=r"\(N") as error:
        build_norm(SPECS[name], CHANNELS, layout)
    assert (str(error.value), error.value.remedy) == (gap.reason, gap.remedy)


def test_the_table_has_the_cells_that_it_is_meant_to_have():
    filled = {
        name: "".join("#" if gap is None else "." for _, gap in tabulate(SPECS[name]))
        for name in NORMS
    }
    #                N,C  N,C,L  N,L,C  N,C,H,W  N,H,W,C
    assert filled == {
        "none": "#####",
        "batch": "#####",
        "layer": "#####",
        "layer-channels": "#####",
        "instance": ".#.##",
        "group": "##.##",
        "group-by-size": "##.##",
        "lrn-channels": "#####",
        "lrn-space": "...##",
        "rms": "#####",
        "ghost_batch": "#####",
        "batch_renorm": "#####",
        "filter_response": ".#.##",
        "filter_response-plain": ".#.##",
        "evonorm-B0": "...##",
        "evonorm-S0": "...##",
        "dynamic_tanh": "#####",
        "derf": "#####",
    }


@pytest.mark.parametrize(("name", "layout"), CELLS)
def test_it_keeps_its_type_copies_and_comes_back_from_its_state(name, layout):
    before = torch.random.get_rng_state()
    layer = build_norm(SPECS[name], CHANNELS, layout)
    assert layer(draw(layout).float()).dtype == torch.float32
    twin = copy.deepcopy(layer)
    fresh = build_norm(SPECS[name], CHANNELS, layout)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)
    x = draw(layout, 3).float()
    outputs = [one.eval()(x) for one in (layer, twin, fresh)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    with torch.device("meta"):
        empty = build_norm(SPECS[name], CHANNELS, layout)
        assert empty(torch.empty(SHAPES[layout])).shape == SHAPES[layout]


@pytest.mark.parametrize(("name", "layout"), CELLS)
def test_only_batch_statistics_let_a_sample_depend_on_its_batch(name, layout):
    layer, x = make(name, layout), draw(layout)
    whole, alone = layer(x)[:2], layer(x[:2])
    assert torch.allclose(whole, alone, atol=1e-12) != uses_batch_statistics(SPECS[name])


@pytest.mark.parametrize("name", SPECS)
def test_gradients_of_micro_batches_add_up_unless_the_batch_is_normalized_as_one(name):
    whole, parts = (gradients(make(name, "N,C,H,W"), size) for size in (SAMPLES, 2))
    assert torch.allclose(whole, parts, rtol=1e-6, atol=1e-12) != uses_batch_statistics(SPECS[name])


def test_micro_batches_of_whole_virtual_batches_are_the_batch():
    spec = parse({"kind": "ghost_batch", "virtual_batch_size": 2})
    layers = [build_norm(spec, CHANNELS, "N,C,H,W").double() for _ in range(2)]
    whole, parts = (gradients(layer, size) for layer, size in zip(layers, (6, 2), strict=True))
    assert torch.allclose(whole, parts, rtol=1e-6, atol=1e-12)
    for one, other in zip(layers[0].buffers(), layers[1].buffers(), strict=True):
        assert torch.equal(one, other)


def gradients(layer: nn.Module, size: int) -> torch.Tensor:
    """Of a convolution and a norm, accumulated over parts of so many samples."""
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1).double(), layer)
    for part in draw("N,C,H,W").split(size):
        network(part).sin().sum().backward()
    return torch.cat([one.grad.flatten() for one in network.parameters()])


@pytest.mark.parametrize("name", {spec.kind: name for name, spec in SPECS.items()}.values())
def test_it_is_exported_with_a_free_batch_size(name):
    layer, x = build_norm(SPECS[name], CHANNELS, "N,C,H,W").eval(), draw("N,C,H,W").float()
    free = ({0: torch.export.Dim("batch", min=2)},)
    exported = torch.export.export(layer, (x[:2],), dynamic_shapes=free).module()
    assert torch.allclose(exported(x), layer(x), atol=1e-6)


def test_layer_norm_is_one_group_and_instance_norm_as_many_as_channels():
    x = draw("N,C,H,W")
    for kind, groups, same in (
        ("layer", 1, functional.layer_norm(x, x.shape[1:])),
        ("instance", CHANNELS, functional.instance_norm(x)),
    ):
        for one in ({"kind": kind}, {"kind": "group", "groups": groups}):
            layer = build_norm(parse(one), CHANNELS, "N,C,H,W").double()
            assert torch.allclose(layer(x), same, atol=1e-10)


def test_two_values_per_channel_become_plus_and_minus_one():
    layer = build_norm(parse({"kind": "batch", "eps": 1e-12}), CHANNELS, "N,C").double()
    y = layer(draw("N,C")[:2])
    assert torch.allclose(y.abs(), torch.ones_like(y), atol=1e-6)


@pytest.mark.parametrize("alpha", [1e-4, 0.3])
def test_lrn_is_that_of_torch_at_n_times_its_alpha(alpha):
    x = draw("N,C,H,W")
    ours = build_norm(parse({"kind": "lrn", "alpha": alpha}), CHANNELS, "N,C,H,W").double()
    theirs = functional.local_response_norm(x, 5, alpha=5 * alpha, beta=0.75, k=2.0)
    assert torch.allclose(ours(x), theirs, atol=1e-12)


def test_the_numbers_of_alexnet_are_a_constant_factor_at_unit_scale():
    x = torch.randn(64, 32, 8, 8, generator=torch.Generator().manual_seed(0)).relu()
    y = build_norm(parse({"kind": "lrn"}), 32, "N,C,H,W")(x)
    factors = (y / x)[x > 0]
    assert (factors / 2**-0.75 - 1).abs().max() < 2e-3


@pytest.mark.parametrize("n", [2, 4, 0, -1])
def test_a_window_has_a_middle(n):
    with pytest.raises(ValidationError, match=r"odd|greater"):
        parse({"kind": "lrn", "n": n})


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "group", "groups": 3},
        {"kind": "group", "channels_per_group": 3},
        {"kind": "evonorm", "groups": 3},
    ],
    ids=str,
)
def test_groups_that_do_not_divide_are_refused_with_the_field(document):
    with pytest.raises(SurgeryError, match="must divide the layer's 8 channels but is 3") as error:
        build_norm(parse(document), CHANNELS, "N,C,H,W")
    field = next(key for key in document if key != "kind")
    assert error.value.pointer == f"/norm/{field}"


def test_the_last_virtual_batch_takes_a_single_vector_in():
    layer = build_norm(parse({"kind": "ghost_batch", "virtual_batch_size": 5}), CHANNELS, "N,C")
    assert layer(draw("N,C").float()).shape == (6, CHANNELS)
    assert layer.num_batches_tracked == 1


def test_batch_renorm_is_batch_norm_until_its_plain_steps_are_over():
    spec = parse({"kind": "batch_renorm", "plain_steps": 2, "momentum": 0.1})
    renorm = build_norm(spec, CHANNELS, "N,C,H,W")
    plain = build_norm(parse({"kind": "batch"}), CHANNELS, "N,C,H,W")
    equal = []
    for step in range(3):
        x = draw("N,C,H,W", step).float()
        equal.append(torch.allclose(renorm(x), plain(x), atol=1e-5))
    assert equal == [True, True, False]


def test_limits_of_batch_renorm_grow_linearly():
    layer = BatchRenorm(2, r_max=3, d_max=5, plain_steps=2, ramp_steps=4, eps=1e-5, momentum=0.1)
    limits = []
    for step in range(9):
        layer.num_batches_tracked.fill_(step)
        limits.append(tuple(float(one) for one in layer._limits()))
    assert limits[:3] == [(1, 0)] * 3
    assert limits[3:6] == [(1.5, 1.25), (2, 2.5), (2.5, 3.75)]
    assert limits[6:] == [(3, 5)] * 3
    assert all(first <= second for first, second in pairwise(limits))


def test_what_activates_as_well_says_so():
    taking = {name for name in NORMS if takes_activation(SPECS[name])}
    assert taking == {"filter_response", "evonorm-B0", "evonorm-S0"}
