"""What goes on inside a network while it trains: one look at fixed training examples. Changes nothing.

A look is two passes over the same examples: one as in training (batch statistics, dropping on), one as
in evaluation. Its statistics, by layer:

norms (under the name of the place, also where the spec's norm is `none`), values over all examples,
channels and positions in the pass as in training
    before_mean, before_std, before_p1 … before_p99    of what the norm is given (percentiles of at most
                                                       2048 values, evenly spaced)
    after_mean … after_p99                             of what it gives
    before_drift, after_drift     deviation of the means of four quarters of the examples, over the std
    dead                          share of channels whose output is never positive: dead behind a ReLU
    sparsity                      share of outputs that are not positive: zeros behind a ReLU
    statistics_gap                root mean square over channels of (batch mean - running mean) / running
                                  std; variance_ratio the mean of batch over running variance
convolutions and linear layers
    weight_norm, weight_sparsity (share of |w| < 0.01), gradient_norm (of the last step, all parameters),
    effective_learning_rate       lr / |w|², which is what counts before a norm (van Laarhoven 2017)
`network`
    train_loss, eval_loss, loss_gap = train_loss - eval_loss, weight_norm, gradient_norm
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainer.dropout import start_dropping
from trainer.errors import ModelError
from trainer.events import Diagnosed
from trainer.examples import Examples, Standardize
from trainer.norms import Site, bare_norm, find_sites
from trainer.parameters import split_parameters
from trainer.recognition import is_producer
from trainer.spec import DiagnosticsSpec, EpochDiagnostics, JobSpec, NoDiagnostics, StepDiagnostics
from trainer.streams import generator, seed_globals
from trainer.tasks import Task

NETWORK = "network"
PERCENTILES = (1, 15, 50, 85, 99)

_MOST_VALUES = 2048
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
        found = {n for n in names if n == pattern or (prefix != pattern and n.startswith(prefix))}
        if not found:
            near = difflib.get_close_matches(pattern, names, n=5, cutoff=0.3) or names[:5]
            raise ModelError(
                f"the model has no norm, convolution or linear layer {pattern!r}",
                f"one of {', '.join(near)}",
                pointer=f"/diagnostics/layers/{index}",
            )
        chosen |= found
    return frozenset(chosen)


class Probe:
    """Looks at the same examples each time; knows beforehand after which steps."""

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
        rows = torch.randperm(len(examples), generator=source)[: spec.diagnostics.samples]
        pixels, labels = examples.take(rows.to(examples.labels.device))
        self._inputs, self._targets = standardize(pixels), task.targets(pixels, labels)
        self._spec, self._task, self._due = spec, task, due
        self._chosen = choose_layers(model, spec.diagnostics)

    def is_due(self, step: int) -> bool:
        return step in self._due

    def look(self, model: nn.Module, step: int, epoch: int, learning_rate: float) -> Diagnosed:
        """Right after a step, whose gradients the parameters still hold. Syncs with the device once."""
        found: Statistics = {NETWORK: {}}
        with torch.no_grad(), _left_as_it_was(model):
            sites = {n: one for n, one in find_sites(model).items() if n in self._chosen}
            # Before the pass as in training, which moves them.
            running = {name: _running(norm) for name, (norm, _) in sites.items()}
            model.eval()
            eval_loss = self._loss(model)
            with _recorded(sites) as seen:
                for norm, _ in find_sites(model).values():
                    norm.train()
                start_dropping(model)
                seed_globals("diagnostics", self._spec.seed, step)
                train_loss = self._loss(model)
            for name, (before, after) in seen.items():
                found[name] = _describe_site(before, after, sites[name][1], running[name])
            for name, layer in _weight_layers(model):
                if name in self._chosen:
                    found[name] = _describe_weights(layer, learning_rate)
            found[NETWORK] = _describe_network(model, train_loss, eval_loss)
        return Diagnosed(epoch, step, _fetch(found))

    def _loss(self, model: nn.Module) -> Tensor:
        return self._task.loss(self._task.predictions(model(self._inputs)), self._targets)


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Modes and buffers."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, kept in buffers:
            buffer.copy_(kept)


@contextmanager
def _recorded(
    sites: Mapping[str, tuple[nn.Module, Site]],
) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """What each norm was first given and gave."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            # An activation in place would change the output before anybody looks.
            seen.setdefault(name, (args[0].clone(), output.clone()))

        return hook

    handles = [norm.register_forward_hook(record(name)) for name, (norm, _) in sites.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _describe_site(
    before: Tensor, after: Tensor, site: Site, running: tuple[Tensor, Tensor] | None
) -> dict[str, Tensor]:
    channels = after.movedim(site.channel_axis, 0).flatten(1)
    positive = channels > 0
    described = {
        **_distribution(before, "before"),
        **_distribution(after, "after"),
        "dead": 1 - (channels.amax(1) > 0).double().mean(),
        "sparsity": 1 - positive.sum() / positive.numel(),
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


def _distribution(values: Tensor, prefix: str) -> dict[str, Tensor]:
    quarters = torch.stack([part.mean() for part in values.tensor_split(_QUARTERS) if len(part)])
    flat = values.flatten()
    mean = flat.mean()
    centred = flat - mean
    std = (centred.dot(centred) / len(flat)).sqrt()
    some = flat[:: -(-len(flat) // _MOST_VALUES)]
    levels = torch.tensor([p / 100 for p in PERCENTILES], dtype=some.dtype, device=some.device)
    named = {
        f"{prefix}_p{p}": value for p, value in zip(PERCENTILES, some.quantile(levels), strict=True)
    }
    drift = quarters.std(correction=0) / std
    return {
        f"{prefix}_mean": mean,
        f"{prefix}_std": std,
        **named,
        f"{prefix}_drift": drift,
    }


def _running(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Copies of the running mean and variance, where the norm has both."""
    layer = bare_norm(norm)
    mean, variance = getattr(layer, "running_mean", None), getattr(layer, "running_var", None)
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return None
    return mean.clone(), variance.clone()


def _weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if is_producer(module))


def _describe_weights(layer: nn.Module, learning_rate: float) -> dict[str, Tensor]:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    squared = weight.double().square().sum()
    return {
        "weight_norm": squared.sqrt(),
        "weight_sparsity": (weight.abs() < _NEAR_ZERO).double().mean(),
        "gradient_norm": _gradient_norm(list(layer.parameters()), weight),
        "effective_learning_rate": learning_rate / squared,
    }


def _describe_network(model: nn.Module, train_loss: Tensor, eval_loss: Tensor) -> dict[str, Tensor]:
    weights = split_parameters(model).weights
    squares = [weight.double().square().sum() for weight in weights]
    return {
        "train_loss": train_loss,
        "eval_loss": eval_loss,
        "loss_gap": train_loss - eval_loss,
        "weight_norm": torch.stack(squares).sum().sqrt() if squares else train_loss.new_zeros(()),
        "gradient_norm": _gradient_norm(list(model.parameters()), train_loss),
    }


def _gradient_norm(parameters: Sequence[nn.Parameter], like: Tensor) -> Tensor:
    squares = [one.grad.double().square().sum() for one in parameters if one.grad is not None]
    return torch.stack(squares).sum().sqrt() if squares else like.new_zeros(())


def _fetch(found: Statistics) -> dict[str, dict[str, float]]:
    """All numbers in one transfer."""
    numbers = [value.double() for layer in found.values() for value in layer.values()]
    values = iter(torch.stack(numbers).tolist())
    return {name: {key: next(values) for key in layer} for name, layer in found.items()}
