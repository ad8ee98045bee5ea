"""What a finished network's activations are like on a split, in evaluation mode: at its norms, and before its
last linear layer. Changes nothing; reads a bounded number of examples.

Scalars (`describe_activations`), of the last hidden activations, which are what the last linear layer is
given (behind dropout, which is off):

mean_activation, active_fraction   the mean; the share above 1 % of the largest
hoyer                              mean over examples of (√n - l1/l2) / (√n - 1): 0 dense, 1 one of n
                                   (Hoyer 2004, JMLR 5, p. 1460); of an example without any activity 1
variance_ratio                     of norms with running statistics: geometric mean over norms and channels
                                   of the variance they are given here over the running one
                                   (Li et al. 2019, arXiv 1801.05134)
activation_shift                   where inputs are shifted: mean over percentiles of how far they move at
                                   the last norm's output, over p85 - p15 of the unshifted
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy
import torch
from torch import Tensor, nn

from trainer.evaluation.losses import Arrays
from trainer.surgery import Site, bare_norm, find_sites

PERCENTILES = (1, 5, 15, 25, 50, 75, 85, 95, 99)
#: Examples that are read, and values of them that percentiles are taken of, evenly spaced.
EXAMPLES = 512
MOST_VALUES = 2**18
BINS = 50
_ACTIVE = 0.01
_TINY = 1e-12


@dataclass(slots=True)
class Activations:
    """Of one pass: what each norm was given and gave, in the order of the calls; the last hidden values."""

    before: dict[str, Tensor] = field(default_factory=dict)
    after: dict[str, Tensor] = field(default_factory=dict)
    hidden: Tensor | None = None


def observe(model: nn.Module, run: Callable[[], object]) -> Activations:
    """What one call of `run`, which passes examples through the model, does to its norms."""
    seen = Activations()
    with torch.no_grad(), _watched(model, seen):
        run()
    return seen


def describe_activations(
    model: nn.Module, seen: Activations, unshifted: Activations | None
) -> tuple[Arrays, dict[str, float]]:
    """Arrays `layers` (L), `percentiles` (P), `before`, `after` (L × P), `edges` (B + 1) and `counts` (B) of
    the last hidden activations; and the scalars. Empty where there is neither norm nor linear layer."""
    arrays: dict[str, numpy.typing.NDArray[numpy.generic]] = {}
    scalars: dict[str, float] = {}
    if seen.after:
        arrays |= {
            "layers": numpy.array(list(seen.after)),
            "percentiles": numpy.array(PERCENTILES),
            "before": numpy.stack([percentiles(one) for one in seen.before.values()]),
            "after": numpy.stack([percentiles(one) for one in seen.after.values()]),
        }
        if unshifted is not None:
            scalars["activation_shift"] = _shift(seen, unshifted)
        if (ratio := _variance_ratio(model, seen)) is not None:
            scalars["variance_ratio"] = ratio
    if seen.hidden is not None:
        hidden = seen.hidden.flatten(1).double().cpu()
        counts, edges = numpy.histogram(hidden.numpy(), bins=BINS)
        arrays |= {"edges": edges, "counts": counts}
        scalars |= _sparsity(hidden)
    return arrays, scalars


def percentiles(values: Tensor) -> numpy.typing.NDArray[numpy.float64]:
    """Of all values together: float64, P."""
    flat = values.flatten()
    some = flat[:: -(-len(flat) // MOST_VALUES)].double().cpu().numpy()
    found: numpy.typing.NDArray[numpy.float64] = numpy.percentile(some, PERCENTILES)
    return found


@contextmanager
def _watched(model: nn.Module, seen: Activations) -> Iterator[None]:
    """Of what is called twice, the first call."""

    def watch_norm(site: Site) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if site.name not in seen.after:
                # Copies: an activation may work in place.
                seen.before[site.name], seen.after[site.name] = args[0].clone(), output.clone()

        return hook

    def watch_last(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.hidden = args[0].clone()

    handles = [
        norm.register_forward_hook(watch_norm(site)) for norm, site in find_sites(model).values()
    ]
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    handles += [one.register_forward_pre_hook(watch_last) for one in linear[-1:]]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shift(seen: Activations, unshifted: Activations) -> float:
    last = list(seen.after)[-1]
    moved, still = percentiles(seen.after[last]), percentiles(unshifted.after[last])
    low, high = (still[PERCENTILES.index(p)] for p in (15, 85))
    width = float(high - low)
    return float(numpy.abs(moved - still).mean()) / width if width > 0 else math.nan


def _variance_ratio(model: nn.Module, seen: Activations) -> float | None:
    """None where no norm has running statistics."""
    logarithms = []
    for name, (norm, site) in find_sites(model).items():
        running = getattr(bare_norm(norm), "running_var", None)
        if isinstance(running, Tensor) and name in seen.before:
            channels = seen.before[name].movedim(site.channel_axis, 0).flatten(1).double()
            variance = channels.var(1, correction=0).clamp(min=_TINY)
            logarithms.append((variance / running.double().clamp(min=_TINY)).log())
    return float(torch.cat(logarithms).mean().exp()) if logarithms else None


def _sparsity(hidden: Tensor) -> dict[str, float]:
    """Of N, n (float64)."""
    width, largest = hidden.shape[1], float(hidden.max())
    l1, l2 = hidden.abs().sum(1), hidden.square().sum(1).sqrt()
    ratio = torch.where(l2 > 0, l1 / l2, torch.ones_like(l2))
    hoyer = (math.sqrt(width) - ratio) / (math.sqrt(width) - 1) if width > 1 else l2 * math.nan
    return {
        "mean_activation": float(hidden.mean()),
        "active_fraction": float((hidden > _ACTIVE * largest).double().mean()),
        "hoyer": float(hoyer.mean()),
    }
