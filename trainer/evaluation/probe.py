"""Diagnostics of a network while it trains, measured on fixed training examples. Changes nothing.

A measurement is two passes over the same examples: one as in training (batch statistics, dropping on), one as
in evaluation. Its statistics, by layer:

norms (under the name of the place, also where the spec's norm is `none`), values over all examples,
channels and positions in the pass as in training
    before_mean, before_std, before_p1 … before_p99    of what the norm is given (percentiles of at most
                                                       1024 values, evenly spaced)
    after_mean … after_p99                             of what it gives
    before_drift, after_drift     deviation of the means of four quarters of the examples, over the std
    dead                          share of channels whose output is never positive: dead behind a ReLU
    sparsity                      share of outputs that are not positive: zeros behind a ReLU
    statistics_gap                root mean square over channels of (batch mean - running mean) / running
                                  std; variance_ratio the mean of batch over running variance
convolutions and linear layers
    weight_norm, weight_sparsity (share of |w| < 0.01), gradient_norm (of the last step, all parameters),
    effective_learning_rate       lr / |w|², which is what counts before a norm
                                  (van Laarhoven 2017, arXiv 1706.05350)
`network`
    train_loss, eval_loss, loss_gap = train_loss - eval_loss, weight_norm, gradient_norm
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainer.data import Examples, Standardize
from trainer.errors import ModelError
from trainer.evaluation.losses import Task
from trainer.events import Diagnosed
from trainer.layers import drops, has_weights, start_dropping
from trainer.models import split_parameters
from trainer.random_streams import generator, seed_globals
from trainer.spec import (
    NETWORK,
    PERCENTILES,
    DiagnosticsSpec,
    EpochDiagnostics,
    JobSpec,
    NoDiagnostics,
    StepDiagnostics,
)
from trainer.surgery import Site, bare_norm, find_sites

_MOST_VALUES = 1024
_QUARTERS = 4
_NEAR_ZERO = 1e-2

#: Statistics by layer, as numbers on the device.
Statistics = dict[str, dict[str, Tensor]]


def build_probe(
    spec: JobSpec,
    model: nn.Module,
    examples: Examples,
    standardize: Standardize,
    task: Task,
    total_steps: int,
    period_steps: int,
) -> "Probe | None":
    """None where nothing is to be measured."""
    match spec.diagnostics:
        case NoDiagnostics():
            return None
        case EpochDiagnostics():
            ends = {*range(period_steps, total_steps + 1, period_steps), total_steps}
            return Probe(spec, model, examples, standardize, task, frozenset(ends))
        case StepDiagnostics(points=points):
            # Evenly on a logarithmic scale, as most happens early: five points in 10,000 steps are
            # 1, 10, 100, 1000 and 10,000. Points that round to the same step are measured once.
            spaced = torch.logspace(0, torch.tensor(total_steps).log10().item(), points).round()
            due = frozenset(int(step) for step in spaced.tolist())
            return Probe(spec, model, examples, standardize, task, due)


def choose_layers(model: nn.Module, spec: DiagnosticsSpec) -> frozenset[str]:
    """The names that the spec asks for; raises ModelError, with near names, for one that is none."""
    names = [*find_sites(model), *(name for name, _ in _weight_layers(model))]
    if isinstance(spec, NoDiagnostics) or spec.layers is None:
        return frozenset(names)
    chosen: set[str] = set()
    for index, pattern in enumerate(spec.layers):
        prefix = pattern.removesuffix("*")
        matches = {n for n in names if n == pattern or (prefix != pattern and n.startswith(prefix))}
        if not matches:
            near = difflib.get_close_matches(pattern, names, n=5, cutoff=0.3) or names[:5]
            raise ModelError(
                f"the model has no norm, convolution or linear layer {pattern!r}",
                f"one of {', '.join(near)}",
                pointer=f"/diagnostics/layers/{index}",
            )
        chosen |= matches
    return frozenset(chosen)


class Probe:
    """Measures on the same examples each time, after steps that are fixed beforehand."""

    def __init__(
        self,
        spec: JobSpec,
        model: nn.Module,
        examples: Examples,
        standardize: Standardize,
        task: Task,
        due: frozenset[int],
    ) -> None:
        assert not isinstance(spec.diagnostics, NoDiagnostics)
        source = generator("diagnostics", spec.seed)
        # From a stream of its own: a spec with diagnostics trains on the same batches, and to the
        # same bits, as without.
        rows = torch.randperm(len(examples), generator=source)[: spec.diagnostics.samples]
        pixels, labels = examples.take(rows.to(examples.labels.device))
        self._inputs, self._targets = standardize(pixels), task.targets(pixels, labels)
        self._spec, self._task, self._due = spec, task, due
        chosen = choose_layers(model, spec.diagnostics)
        self._model, self._weights = model, split_parameters(model).weights
        self._has_drops = any(drops(module) for module in model.modules())
        self._norms = [norm for norm, _ in find_sites(model).values()]
        self._sites = {name: one for name, one in find_sites(model).items() if name in chosen}
        self._layers = {name: one for name, one in _weight_layers(model) if name in chosen}

    def is_due(self, step: int) -> bool:
        return step in self._due

    def measure(self, step: int, epoch: int, learning_rate: float) -> Diagnosed:
        """Right after a step, whose gradients the parameters still hold. Syncs with the device once."""
        model = self._model
        with torch.no_grad(), _restored(model):
            model.eval()
            eval_loss = self._loss()
            with _described(self._sites) as statistics:
                # Only the norms, not the whole model: other layers would act differently in
                # training mode too, and the gap between the two losses should be due to batch
                # statistics and dropping alone.
                for norm in self._norms:
                    norm.train()
                if self._has_drops:
                    start_dropping(model)
                    seed_globals("diagnostics", self._spec.seed, step)
                train_loss = self._loss()
            statistics |= _describe_weights(self._layers, learning_rate)
            statistics[NETWORK] = {
                "train_loss": train_loss,
                "eval_loss": eval_loss,
                "loss_gap": train_loss - eval_loss,
                "weight_norm": _norm(self._weights, train_loss),
                "gradient_norm": _gradient_norm(model, train_loss),
            }
        return Diagnosed(epoch, step, _fetch(statistics))

    def _loss(self) -> Tensor:
        predictions = self._task.predictions(self._model(self._inputs))
        return self._task.loss(predictions, self._targets)


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Modes and buffers are afterwards as they were before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, before in buffers:
            buffer.copy_(before)


@contextmanager
def _described(sites: Mapping[str, tuple[nn.Module, Site]]) -> Iterator[Statistics]:
    """Fills up while the model runs: an activation in place would change what a norm gave before it could be
    read later. Of a norm that is called twice, the first call."""
    statistics: Statistics = {}

    def describe(name: str, site: Site, running: tuple[Tensor, Tensor] | None) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if name not in statistics:
                statistics[name] = _describe_site(args[0], output, site, running)

        return hook

    # The running statistics of before: the pass moves them.
    handles = [
        norm.register_forward_hook(describe(name, site, _running(norm)))
        for name, (norm, site) in sites.items()
    ]
    try:
        yield statistics
    finally:
        for handle in handles:
            handle.remove()


def _describe_site(
    before: Tensor, after: Tensor, site: Site, running: tuple[Tensor, Tensor] | None
) -> dict[str, Tensor]:
    channels = after.movedim(site.channel_axis, 0).flatten(1)
    described = {
        **_distributions(before=before, after=after),
        "dead": 1 - (channels.amax(1) > 0).double().mean(),
        "sparsity": 1 - (channels > 0).sum() / channels.numel(),
    }
    if running is not None:
        mean, variance = running
        variance = variance.clamp(min=1e-12)
        given = before.movedim(site.channel_axis, 0).flatten(1)
        batch_mean = given.mean(1)
        # Several times faster on a CPU than `var` over one axis of a view.
        batch_variance = (given - batch_mean[:, None]).square().mean(1)
        gap = (batch_mean - mean) / variance.sqrt()
        described["statistics_gap"] = gap.square().mean().sqrt()
        described["variance_ratio"] = (batch_variance / variance).mean()
    return described


def _distributions(**sides: Tensor) -> dict[str, Tensor]:
    """Both sides in few operations: on small networks it is their number that costs."""
    described: dict[str, Tensor] = {}
    flat = torch.stack([values.flatten() for values in sides.values()])
    count = flat.shape[1]
    mean = flat.mean(1)
    std = torch.linalg.vector_norm(flat - mean[:, None], dim=1) / count**0.5
    # Every k-th value, rounded up, so never more than the limit: sorting all of them would cost
    # more than the pass.
    some = flat[:, :: -(-count // _MOST_VALUES)]
    percentiles = _percentiles(some)
    # The examples come one after the other; a remainder of fewer than four values belongs to none.
    quarters = flat[:, : count // _QUARTERS * _QUARTERS].view(len(flat), _QUARTERS, -1).mean(2)
    drift = quarters.std(1, correction=0) / std
    for row, side in enumerate(sides):
        described |= {f"{side}_mean": mean[row], f"{side}_std": std[row]}
        described |= {f"{side}_p{p}": percentiles[row, n] for n, p in enumerate(PERCENTILES)}
        described[f"{side}_drift"] = drift[row]
    return described


def _percentiles(values: Tensor) -> Tensor:
    """R, N → R, percentiles, with linear interpolation; `torch.quantile` takes three times as long."""
    places = [percent / 100 * (values.shape[1] - 1) for percent in PERCENTILES]
    below = [int(place) for place in places]
    above = [min(place + 1, values.shape[1] - 1) for place in below]
    shares = values.new_tensor([place % 1 for place in places])
    ordered = values.sort(1).values
    return ordered[:, below].lerp(ordered[:, above], shares)


def _running(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Copies of the running mean and variance, where the norm has both."""
    layer = bare_norm(norm)
    mean, variance = getattr(layer, "running_mean", None), getattr(layer, "running_var", None)
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return None
    return mean.clone(), variance.clone()


def _weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if has_weights(module))


def _describe_weights(layers: Mapping[str, nn.Module], learning_rate: float) -> Statistics:
    weights = [weight for layer in layers.values() if isinstance(weight := layer.weight, Tensor)]
    norms = torch._foreach_norm(weights) if weights else []
    described: Statistics = {}
    for (name, layer), weight, norm in zip(layers.items(), weights, norms, strict=True):
        described[name] = {
            "weight_norm": norm,
            "weight_sparsity": (weight.abs() < _NEAR_ZERO).sum() / weight.numel(),
            "gradient_norm": _gradient_norm(layer, norm),
            "effective_learning_rate": learning_rate / norm.square(),
        }
    return described


def _gradient_norm(module: nn.Module, like: Tensor) -> Tensor:
    return _norm([one.grad for one in module.parameters() if one.grad is not None], like)


def _norm(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    """Of all their values together."""
    if not tensors:
        return like.new_zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm


def _fetch(statistics: Statistics) -> dict[str, dict[str, float]]:
    """All numbers in one transfer."""
    numbers = [value.double() for layer in statistics.values() for value in layer.values()]
    values = iter(torch.stack(numbers).tolist())
    return {name: {key: next(values) for key in layer} for name, layer in statistics.items()}
