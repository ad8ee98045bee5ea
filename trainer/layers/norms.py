"""Norm layers that torch does not have, for x of shape N, C, then any positions.

`weight` is the gain and `bias` the bias of each channel, None where there is none. Everything is
computed in the type of x.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.layers.channels_last import ExactBatchNorm


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """C values in a shape that multiplies x."""
    return values.view(1, -1, *(1 for _ in x.shape[2:]))


class _Affine(nn.Module):
    """A gain and a bias for each channel, which leave x as it is until they are trained."""

    def _add_gain_and_bias(self, channels: int) -> None:
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def _scale_and_shift(self, x: Tensor) -> Tensor:
        return x * per_channel(self.weight, x) + per_channel(self.bias, x)


class _RunningStatistics(nn.Module):
    """Averages over batches, exponential with `momentum` as the weight of the new batch. Without a momentum
    they are cumulative, as in torch's batch norm. They move on the device, without a sync."""

    #: Value of each before the first batch, by the name of its buffer.
    _START: ClassVar[Mapping[str, float]]

    momentum: float | None
    num_batches_tracked: Tensor

    def _add_running(self, channels: int, momentum: float) -> None:
        self.momentum = momentum
        for name, value in self._START.items():
            self.register_buffer(name, torch.full((channels,), value))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def reset_running_stats(self) -> None:
        for name, value in self._START.items():
            self.get_buffer(name).fill_(value)
        self.num_batches_tracked.zero_()

    def _move_running(self, **batch: Tensor) -> None:
        """Towards the batch's statistics, by the names of their buffers; under `no_grad`."""
        # Counted first, so that without a momentum the first batch has the weight 1/1 and nothing
        # of the start value is left. Batches of 2, 4 and 6 then give 2, 2 + (4 - 2) / 2 = 3 and 3 +
        # (6 - 3) / 3 = 4: their mean.
        self.num_batches_tracked += 1
        for name, value in batch.items():
            running = self.get_buffer(name)
            running += self._weight_of_new(running) * (value - running)

    def _weight_of_new(self, running: Tensor) -> Tensor | float:
        if self.momentum is None:
            return 1 / self.num_batches_tracked.to(running)
        return self.momentum


class LocalResponseNorm(nn.Module):
    """`x / (k + alpha Σ x²)^beta` (Krizhevsky et al. 2012, NeurIPS 25, §3.3), the sum over n neighbours and not
    divided by n: adjacent channels at a position, or (`across_space`) an n×n window of a channel."""

    weight: None = None
    bias: None = None

    def __init__(
        self, channels: int, *, across_space: bool, n: int, k: float, alpha: float, beta: float
    ) -> None:
        super().__init__()
        self.across_space, self.n = across_space, n
        self.k, self.alpha, self.beta = k, alpha, beta
        if not across_space:
            # A band of ones: row i has a one for every channel whose square counts at channel i.
            # With n = 3 and four channels the rows are 1100, 1110, 0111 and 0011. It follows from
            # channels and n, so no checkpoint holds it.
            rows = torch.arange(channels)
            band = (rows[:, None] - rows).abs() <= n // 2
            self.register_buffer("band", band.to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        denominator = self.k + self.alpha * self._sums(x.square())
        if self.beta != 0.75:
            return x * denominator.pow(-self.beta)
        # d^-3/4 without a logarithm: four times faster than pow on a CPU.
        root = denominator.rsqrt()
        return x * root * root.sqrt()

    def _sums(self, squares: Tensor) -> Tensor:
        if self.across_space:
            n = self.n
            # Dividing by 1 makes a sum of the average. The zeros of the padding add nothing.
            return functional.avg_pool2d(squares, n, 1, n // 2, divisor_override=1)
        # The band is symmetric, so it may stand on either side of the squares.
        band: Tensor = self.get_buffer("band").to(squares.dtype)
        if squares.ndim == 2:
            return squares @ band
        return (band @ squares.flatten(2)).view_as(squares)

    def extra_repr(self) -> str:
        return f"across_space={self.across_space}, n={self.n}, k={self.k}, alpha={self.alpha}"


class GhostBatchNorm(ExactBatchNorm):
    """Batch norm by virtual batches (Hoffer et al. 2017, arXiv 1705.08741): each normalized by itself, the running
    statistics moved once by each; the last of a batch may be smaller."""

    def __init__(self, channels: int, virtual_batch_size: int, eps: float, momentum: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.virtual_batch_size = virtual_batch_size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        return torch.cat([super(GhostBatchNorm, self).forward(one) for one in self._parts(x)])

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = x.split(self.virtual_batch_size)  # type: ignore[no-untyped-call]
        # One value per channel has no variance: it joins the part before.
        if len(parts) > 1 and parts[-1].numel() == x.shape[1]:
            return (*parts[:-2], torch.cat(parts[-2:]))
        return parts


class BatchRenorm(_Affine, _RunningStatistics):
    """Ioffe 2017, arXiv 1702.03275, algorithm 1: `(x - μ_B) / σ_B * r + d`, r and d clipped and held constant
    in the backward pass. The running statistics are those of μ_B and of σ_B = sqrt(biased variance + eps)."""

    _START = MappingProxyType({"running_mean": 0.0, "running_std": 1.0})

    running_mean: Tensor
    running_std: Tensor

    def __init__(
        self,
        channels: int,
        *,
        r_max: float,
        d_max: float,
        plain_steps: int,
        ramp_steps: int,
        eps: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.r_max, self.d_max = r_max, d_max
        self.plain_steps, self.ramp_steps = plain_steps, ramp_steps
        self.eps = eps
        self._add_gain_and_bias(channels)
        self._add_running(channels, momentum)

    @property
    def running_var(self) -> Tensor:
        return self.running_std.square() - self.eps

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.running_mean, self.running_std
        if self.training:
            mean, std, ratio, shift = self._correct(x)
            normalized = (x - per_channel(mean, x)) / per_channel(std, x)
            normalized = normalized * per_channel(ratio, x) + per_channel(shift, x)
        else:
            normalized = (x - per_channel(mean, x)) / per_channel(std, x)
        return self._scale_and_shift(normalized)

    def _correct(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The batch's mean and deviation, r and d; then moves the running statistics."""
        # Over samples and positions: all axes but that of the channels.
        axes = (0, *range(2, x.ndim))
        variance, mean = torch.var_mean(x, axes, correction=0)
        std = (variance + self.eps).sqrt()
        with torch.no_grad():
            r_max, d_max = self._limits()
            # Not clipped, r and d would turn (x - μ_B) / σ_B into (x - μ) / σ, which is what
            # evaluation computes; with r = 1 and d = 0 the layer is batch norm. The paper takes
            # both from the averages of the batches before, so these move last.
            ratio = (std / self.running_std).clamp(1 / r_max, r_max)
            shift = ((mean - self.running_mean) / self.running_std).clamp(-d_max, d_max)
            self._move_running(running_mean=mean, running_std=std)
        return mean, std, ratio, shift

    def _limits(self) -> tuple[Tensor, Tensor]:
        """r_max from 1 and d_max from 0, linearly over the ramp; on the device, without a sync."""
        # With 1000 plain steps, a ramp of 4000 and a limit of 3, the limit is 1 up to step 1000, 2
        # at step 3000 and 3 from step 5000 on. A ramp of no steps is a jump, for which there is
        # nothing to divide by.
        done = (self.num_batches_tracked - self.plain_steps).to(self.running_std)
        share = (done / self.ramp_steps).clamp(0, 1) if self.ramp_steps else (done >= 0).to(done)
        return 1 + share * (self.r_max - 1), share * torch.full_like(done, self.d_max)


class FilterResponseNorm(_Affine):
    """Singh & Krishnan 2020, arXiv 1911.09737: `x / sqrt(mean(x²) + eps)` over the positions of each sample and channel,
    gain and bias, then (`tlu`) the thresholded linear unit max(y, τ)."""

    def __init__(self, channels: int, *, tlu: bool, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self._add_gain_and_bias(channels)
        self.threshold = nn.Parameter(torch.zeros(channels)) if tlu else None

    def forward(self, x: Tensor) -> Tensor:
        # No mean is subtracted, so activations may have any offset; the learned threshold τ takes
        # the place of ReLU's zero for that reason (§3 of the paper).
        power = x.square().mean(tuple(range(2, x.ndim)), keepdim=True)
        y = self._scale_and_shift(x * (power + self.eps).rsqrt())
        return y if self.threshold is None else torch.maximum(y, per_channel(self.threshold, x))


class EvoNormB0(_Affine, _RunningStatistics):
    """Liu et al. 2020, arXiv 2004.02967: `x / max(sqrt(batch variance + eps), v x + sqrt(instance variance +
    eps))`, gain and bias. Biased variances; the running one is unbiased, as in batch norm and in timm."""

    _START = MappingProxyType({"running_var": 1.0})

    running_var: Tensor

    def __init__(self, channels: int, *, eps: float, momentum: float) -> None:
        super().__init__()
        self.eps = eps
        self._add_gain_and_bias(channels)
        self.v = nn.Parameter(torch.ones(channels))
        self._add_running(channels, momentum)

    def forward(self, x: Tensor) -> Tensor:
        variance = self._batch_variance(x) if self.training else self.running_var
        # The left side of the maximum is one number for a channel, over the whole batch; the right
        # side differs from sample to sample and with x itself, which is the layer's nonlinearity.
        # So no activation follows it.
        batch = per_channel((variance + self.eps).sqrt(), x)
        instance = (x.var(tuple(range(2, x.ndim)), correction=0, keepdim=True) + self.eps).sqrt()
        return self._scale_and_shift(
            x / torch.maximum(batch, per_channel(self.v, x) * x + instance)
        )

    def _batch_variance(self, x: Tensor) -> Tensor:
        variance = x.var((0, *range(2, x.ndim)), correction=0)
        # The batch is divided by its biased variance; the running one estimates that of the
        # population and is larger by n / (n - 1): for 64 samples of 8×8 positions by 4096 / 4095.
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            self._move_running(running_var=variance * (count / (count - 1)))
        return variance


class EvoNormS0(_Affine):
    """Liu et al. 2020, arXiv 2004.02967: `x sigmoid(v x) / sqrt(group variance + eps)`, gain and bias; biased
    variance over positions and the channels of a group, for each sample."""

    def __init__(self, channels: int, *, groups: int, eps: float) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self._add_gain_and_bias(channels)
        self.v = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        # Not `len(x)`: an exported layer would have the example's batch size for good.
        grouped = x.reshape(x.shape[0], self.groups, -1)
        std = (grouped.var(2, correction=0, keepdim=True) + self.eps).sqrt()
        gated = (x * (per_channel(self.v, x) * x).sigmoid()).reshape_as(grouped)
        return self._scale_and_shift((gated / std).reshape_as(x))


class DynamicTanhNorm(_Affine):
    """Zhu et al. 2025, arXiv 2503.10622: `tanh(alpha x)`, alpha one learned number, then gain and bias."""

    def __init__(self, channels: int, *, alpha: float) -> None:
        super().__init__()
        # Before gain and bias: what acts on all parameters (noise on gradients) follows their order.
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self._add_gain_and_bias(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self._scale_and_shift((self.alpha * x).tanh())


class DynamicErfNorm(_Affine):
    """Chen et al. 2025, arXiv 2512.10938: `erf(alpha x + s)`, alpha and s one learned number each, then gain and bias."""

    def __init__(self, channels: int, *, alpha: float, shift: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.shift = nn.Parameter(torch.tensor(shift))
        self._add_gain_and_bias(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self._scale_and_shift((self.alpha * x + self.shift).erf())
