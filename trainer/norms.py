"""Every normalization: from its spec to a layer with one gain and one bias per channel.

x has shape N, C, then any positions (H, W). Knows no models.
"""

from typing import assert_never

from torch import Tensor, nn

from trainer.errors import SurgeryError
from trainer.spec import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm, NormSpec

_BATCH = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_INSTANCE = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}


def build_norm(spec: NormSpec, channels: int, dimensions: int) -> nn.Module:
    """For x of so many dimensions, N and C among them; raises SurgeryError where it is undefined."""
    match spec:
        case NoNorm():
            return nn.Identity()
        case BatchNorm():
            # Ioffe & Szegedy 2015; normalizes by the biased variance, keeps a running unbiased one.
            return _BATCH[dimensions](channels, eps=spec.eps, momentum=spec.momentum)
        case LayerNorm():
            # Ba et al. 2016, with the gain per channel of Wu & He 2018: layer norm is GroupNorm(1, C).
            if dimensions == 2:
                return nn.LayerNorm(channels, eps=spec.eps)
            return nn.GroupNorm(1, channels, eps=spec.eps)
        case InstanceNorm():
            # Ulyanov et al. 2016; torch's own default has no gain and bias.
            if dimensions not in _INSTANCE:
                raise SurgeryError(
                    "instance norm needs positions (H, W) to average over but the layer has none",
                    "layer or group norm, or a model of convolutions",
                )
            return _INSTANCE[dimensions](channels, eps=spec.eps, affine=True)
        case GroupNorm():
            return nn.GroupNorm(group_count(spec, channels), channels, eps=spec.eps)
        case _:
            assert_never(spec)


def group_count(spec: GroupNorm, channels: int) -> int:
    """Groups for so many channels; raises SurgeryError where they do not come out even."""
    given = spec.groups or spec.channels_per_group
    assert given is not None
    if channels % given:
        raise SurgeryError(
            f"{group_field(spec)} must divide the layer's {channels} channels but is {given}",
            f"a divisor of {channels}",
            pointer=f"/norm/{group_field(spec)}",
        )
    return given if spec.groups else channels // given


def group_field(spec: GroupNorm) -> str:
    return "groups" if spec.groups else "channels_per_group"


class ChannelsLast(nn.Module):
    """Puts a norm that expects channels second where they come last: N, positions, C."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.norm(x.movedim(-1, 1))
        return normalized.movedim(1, -1)


class NormThenActivation(nn.Module):
    """Takes the place of layers that norm and activate in one (timm's `…NormAct`)."""

    def __init__(self, norm: nn.Module, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(self.norm(x)))  # type: ignore[no-any-return]
