"""Learning rates against values worked out by hand; optimizers against each other."""

import copy

import pytest
import torch
from torch import nn

from tests.support.trainings import epochs, make_spec, outcome, run
from trainer.optimization import eager
from trainer.optimization.gradients import build_gradient_rule
from trainer.optimization.optimizers import build_optimizer, learning_rate
from trainer.optimization.penalties import build_penalties
from trainer.spec.optimization import Constant, Cosine, Step


def rates(schedule, *, total_steps, period_steps, peak=1.0):
    return [
        learning_rate(peak, schedule, step, total_steps=total_steps, period_steps=period_steps)
        for step in range(total_steps)
    ]


def test_a_constant_rate_is_constant():
    assert rates(Constant(kind="constant"), total_steps=3, period_steps=1, peak=0.3) == [0.3] * 3


def test_warm_up_is_linear_and_reaches_the_peak():
    schedule = Constant(kind="constant", warmup_epochs=2.0)
    assert rates(schedule, total_steps=6, period_steps=2) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_warm_up_may_take_a_part_of_a_period():
    schedule = Constant(kind="constant", warmup_epochs=0.625)
    assert rates(schedule, total_steps=4, period_steps=4) == pytest.approx([0.4, 0.8, 1, 1])


def test_steps_fall_at_the_first_step_after_each_milestone():
    schedule = Step(kind="step", milestones=(1, 3), factor=0.5)
    assert rates(schedule, total_steps=8, period_steps=2) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_half_a_cosine_falls_from_the_peak_towards_its_final_fraction():
    schedule = Cosine(kind="cosine", final_fraction=0.2)
    half = 0.5 + 0.5 * 2**-0.5
    expected = [1, 0.2 + 0.8 * half, 0.6, 0.2 + 0.8 * (1 - half)]
    assert rates(schedule, total_steps=4, period_steps=2) == pytest.approx(expected)


def test_the_cosine_starts_when_the_warm_up_is_over():
    schedule = Cosine(kind="cosine", warmup_epochs=1.0)
    assert rates(schedule, total_steps=6, period_steps=2) == pytest.approx(
        [0.5, 1, 1, 0.5 + 0.5 * 2**-0.5, 0.5, 0.5 - 0.5 * 2**-0.5]
    )


def trajectory(optimizer, regularization, *, steps=50, dtype=torch.float32):
    """The weights and biases of a small model after some steps on fixed random data."""
    spec = make_spec(optimizer=optimizer, regularization=regularization)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    x, y = torch.randn(32, 5, dtype=dtype), torch.randint(3, (32,))
    made, penalties = build_optimizer(spec, model), build_penalties(spec, model)
    adjust = build_gradient_rule(spec, model)
    for step in range(steps):
        cost = nn.functional.cross_entropy(model(x), y)
        if penalties is not None:
            cost = cost + sum(penalties().values())
        made.zero_grad()
        cost.backward()
        if adjust is not None:
            adjust(step)
        made.step()
    return torch.cat([one.detach().flatten() for one in model.parameters()])


SGD = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}
DECAY = [{"kind": "weight_decay", "value": 0.01}]
L2 = [{"kind": "l2", "value": 0.01}]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_l2_with_sgd_is_coupled_weight_decay(momentum):
    sgd = {**SGD, "momentum": momentum}
    single = trajectory(sgd, L2), trajectory(sgd, DECAY)
    torch.testing.assert_close(*single, rtol=0, atol=1e-6)
    double = (trajectory(sgd, one, dtype=torch.float64) for one in (L2, DECAY))
    torch.testing.assert_close(*double, rtol=0, atol=1e-12)


def test_the_decay_of_sgd_is_coupled_unless_it_says_otherwise():
    coupled = [{**DECAY[0], "mode": "coupled"}]
    assert torch.equal(trajectory(SGD, DECAY), trajectory(SGD, coupled))


def test_clipping_clips_the_gradient_of_a_penalty_and_no_decay():
    clipping = {"kind": "gradient_clipping", "value": 0.1}
    clipped = (trajectory(SGD, [*one, clipping], dtype=torch.float64) for one in (L2, DECAY))
    assert torch.sub(*clipped).abs().max() > 1e-3


def test_decoupled_decay_of_sgd_is_coupled_decay_without_momentum_and_not_with_it():
    decoupled = [{**DECAY[0], "mode": "decoupled"}]
    plain = {"kind": "sgd", "lr": 0.1, "momentum": 0.0}
    same = (trajectory(plain, one, dtype=torch.float64) for one in (DECAY, decoupled))
    torch.testing.assert_close(*same, rtol=0, atol=1e-12)
    assert (trajectory(SGD, DECAY) - trajectory(SGD, decoupled)).abs().max() > 1e-3


def test_decoupled_decay_of_sgd_shrinks_by_the_rate_times_the_decay():
    spec = make_spec(optimizer=SGD, regularization=[{**DECAY[0], "mode": "decoupled"}])
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    optimizer = build_optimizer(spec, layer)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(layer.weight, before * (1 - 0.1 * 0.01), rtol=1e-7)


@pytest.mark.parametrize(
    ("kind", "mode", "same_as"),
    [("adam", "decoupled", "adamw"), ("adamw", "coupled", "adam")],
)
def test_the_mode_makes_either_adam_the_other(kind, mode, same_as):
    chosen = trajectory({"kind": kind, "lr": 0.01}, [{**DECAY[0], "mode": mode}])
    assert torch.equal(chosen, trajectory({"kind": same_as, "lr": 0.01}, DECAY))


def test_coupled_decay_through_adam_is_its_l2():
    adam = {"kind": "adam", "lr": 0.01}
    same = (trajectory(adam, one, dtype=torch.float64) for one in (L2, DECAY))
    torch.testing.assert_close(*same, rtol=0, atol=1e-9)


def test_decoupled_weight_decay_differs_from_adam_with_l2():
    decoupled = trajectory({"kind": "adamw", "lr": 0.01}, DECAY)
    coupled = trajectory({"kind": "adam", "lr": 0.01}, L2)
    assert (decoupled - coupled).abs().max() > 0.01


def test_without_decay_adamw_is_adam():
    adam, adamw = ({"kind": kind, "lr": 0.01} for kind in ("adam", "adamw"))
    assert torch.equal(trajectory(adam, []), trajectory(adamw, []))


@pytest.mark.parametrize(
    ("parameters", "decayed"),
    [("weights", 2), ("weights_and_biases", 4), ("weights_and_norms", 4), ("all", 6)],
)
def test_weight_decay_leaves_norms_and_biases_alone_unless_told(parameters, decayed):
    regularization = [{"kind": "weight_decay", "value": 0.01, "parameters": parameters}]
    spec = make_spec(regularization=regularization)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    groups = build_optimizer(spec, model).param_groups
    assert sum(len(one["params"]) for one in groups) == 6
    assert sum(len(one["params"]) for one in groups if one["weight_decay"] == 0.01) == decayed


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "lion", "muon"])
def test_a_restored_optimizer_goes_on_bit_for_bit(kind):
    spec = make_spec(optimizer={"kind": kind}, regularization=DECAY)
    x = torch.randn(16, 7)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 6), nn.Linear(6, 5))
    optimizer = build_optimizer(spec, model)
    for _ in range(3):
        step(model, optimizer)
    other = nn.Sequential(nn.Linear(7, 6), nn.Linear(6, 5))
    other.load_state_dict(model.state_dict())
    restored = build_optimizer(spec, other)
    groups = restored.state_dict()["param_groups"]
    state = copy.deepcopy(optimizer.state_dict()["state"])
    restored.load_state_dict({"state": state, "param_groups": groups})
    for _ in range(3):
        step(model, optimizer)
        step(other, restored)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_a_rate_for_a_batch_size_follows_the_batch_size(tmp_path):
    training = {"epochs": 2, "batch_size": 16}
    scaled = {"kind": "sgd", "lr": 0.1, "lr_batch_size": 32}
    follows = run(make_spec(training=training, optimizer=scaled), tmp_path / "follows")
    plain = run(
        make_spec(training=training, optimizer={"kind": "sgd", "lr": 0.05}), tmp_path / "plain"
    )
    assert outcome(follows) == outcome(plain)
    assert {one.metrics["learning_rate"] for one in epochs(follows)} == {0.05}


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": True},
    ],
)
def test_sgd_gives_the_bits_of_torchs_fused_sgd_after_a_resume_too(options):
    def steps(kind):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        x, y = torch.randn(32, 5), torch.randint(3, (32,))
        optimizer, saved = kind(model.parameters(), lr=0.1, fused=True, **options), None
        for step in range(6):
            if step == 3:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = kind(model.parameters(), lr=0.1, fused=True, **options)
                optimizer.load_state_dict(saved)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return [*model.parameters(), *(one["momentum_buffer"] for one in saved["state"].values())]

    pairs = list(zip(steps(eager.Sgd), steps(torch.optim.SGD), strict=True))
    assert len(pairs) == (8 if options["momentum"] else 4)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_sgd_leaves_a_parameter_without_a_gradient_as_it_is():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = eager.Sgd([used, unused], lr=0.5, momentum=0.9, fused=True)
    for expected in (0.5, -0.45):
        optimizer.zero_grad()
        used.sum().backward()
        optimizer.step()
        assert used.tolist() == pytest.approx([expected] * 2)
    assert unused.tolist() == [1, 1]
