"""Every normalization: from its spec to a layer for one layout of activations."""

from dataclasses import dataclass
from typing import assert_never

from torch import Tensor, nn

from trainer.errors import SurgeryError
from trainer.layers import FrozenBatchNorm, SynchronizedBatchNorm, channels_last
from trainer.layers import norms as layers
from trainer.spec import (
    BatchNorm,
    BatchRenorm,
    Derf,
    DynamicTanh,
    EvoNorm,
    FilterResponseNorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Layout,
    LocalResponseNorm,
    NoNorm,
    NormSpec,
    RmsNorm,
    find_gap,
)

_BATCH = {"N,C": nn.BatchNorm1d, "N,C,L": nn.BatchNorm1d, "N,C,H,W": channels_last.BatchNorm2d}
_INSTANCE = {"N,C,L": nn.InstanceNorm1d, "N,C,H,W": nn.InstanceNorm2d}
#: A layout with its channels last → the one with its channels second.
_SECOND: dict[Layout, Layout] = {"N,L,C": "N,C,L", "N,H,W,C": "N,C,H,W"}


def build_norm(spec: NormSpec, channels: int, layout: Layout) -> nn.Module:
    """Takes and gives x in this layout. Raises SurgeryError where the norm is undefined on it, or its
    groups do not divide the channels."""
    if (gap := find_gap(spec, layout)) is not None:
        raise SurgeryError(gap.reason, gap.remedy)
    if isinstance(spec, NoNorm):
        return nn.Identity()
    if _is_over_last_axis(spec, layout):
        over_channels = _build_over_channels(spec, channels)
        is_last = layout == "N,C" or layout in _SECOND
        # The movement of axes is a view: nothing is copied unless the kernel asks for contiguous
        # memory.
        return over_channels if is_last else ChannelsSecond(over_channels)
    if layout in _SECOND:
        return ChannelsLast(_build(spec, channels, _SECOND[layout]))
    return _build(spec, channels, layout)


def _is_over_last_axis(spec: NormSpec, layout: Layout) -> bool:
    """Statistics over the channels of each position: torch's kernels want the channels last."""
    alone = layout in ("N,C", "N,L,C")
    return isinstance(spec, RmsNorm) or (
        isinstance(spec, LayerNorm) and (alone or spec.axes == "channels")
    )


def _build_over_channels(spec: NormSpec, channels: int) -> nn.Module:
    if isinstance(spec, RmsNorm):
        # Zhang & Sennrich 2019, arXiv 1910.07467.
        return nn.RMSNorm(channels, eps=spec.eps)
    assert isinstance(spec, LayerNorm)
    # Ba et al. 2016, arXiv 1607.06450; over the channels of maps as in Liu et al. 2022, arXiv 2201.03545.
    return nn.LayerNorm(channels, eps=spec.eps)


def _build(spec: NormSpec, channels: int, layout: Layout) -> nn.Module:
    """For a layout with its channels second."""
    match spec:
        case BatchNorm(eps=eps, frozen="statistics" | "all" as frozen):
            return FrozenBatchNorm(channels, eps=eps, is_affine_frozen=frozen == "all")
        case BatchNorm(eps=eps, momentum=momentum, sync=sync):
            # Ioffe & Szegedy 2015, arXiv 1502.03167; normalizes by the biased variance, keeps a running
            # unbiased one.
            kind = SynchronizedBatchNorm if sync else _BATCH[layout]
            return kind(channels, eps=eps, momentum=momentum)
        case LayerNorm(eps=eps):
            # Ba et al. 2016, arXiv 1607.06450, with the gain per channel of Wu & He 2018: layer norm is
            # GroupNorm(1, C).
            return channels_last.GroupNorm(1, channels, eps=eps)
        case InstanceNorm(eps=eps):
            # Ulyanov et al. 2016, arXiv 1607.08022; torch's own default has no gain and bias.
            return _INSTANCE[layout](channels, eps=eps, affine=True)
        case GroupNorm(eps=eps):
            # Wu & He 2018, arXiv 1803.08494.
            return channels_last.GroupNorm(group_count(spec, channels), channels, eps=eps)
        case LocalResponseNorm(n=n, k=k, alpha=alpha, beta=beta):
            across_space = spec.across == "space"
            return layers.LocalResponseNorm(
                channels, across_space=across_space, n=n, k=k, alpha=alpha, beta=beta
            )
        case GhostBatchNorm(eps=eps, momentum=momentum):
            return layers.GhostBatchNorm(channels, spec.virtual_batch_size, eps, momentum)
        case BatchRenorm():
            return layers.BatchRenorm(channels, **spec.model_dump(exclude={"kind", "placement"}))
        case FilterResponseNorm(tlu=tlu, eps=eps):
            return layers.FilterResponseNorm(channels, tlu=tlu, eps=eps)
        case EvoNorm(form="B0", eps=eps, momentum=momentum):
            return layers.EvoNormB0(channels, eps=eps, momentum=momentum)
        case EvoNorm(eps=eps):
            return layers.EvoNormS0(channels, groups=group_count(spec, channels), eps=eps)
        case DynamicTanh(alpha=alpha):
            return layers.DynamicTanhNorm(channels, alpha=alpha)
        case Derf(alpha=alpha, shift=shift):
            return layers.DynamicErfNorm(channels, alpha=alpha, shift=shift)
        case NoNorm() | RmsNorm():
            raise AssertionError(spec)
        case _:
            assert_never(spec)


def takes_activation(spec: NormSpec) -> bool:
    """Whether it activates as well, so that the activation behind it must go."""
    return isinstance(spec, EvoNorm) or (isinstance(spec, FilterResponseNorm) and spec.tlu)


def uses_batch_statistics(spec: NormSpec) -> bool:
    """Whether what one sample becomes in training depends on the others of its batch."""
    match spec:
        case BatchNorm(frozen=frozen):
            return frozen is None
        case GhostBatchNorm() | BatchRenorm():
            return True
        case EvoNorm(form=form):
            return form == "B0"
        case _:
            return False


def group_count(spec: GroupNorm | EvoNorm, channels: int) -> int:
    """Groups for so many channels; raises SurgeryError where they do not come out even."""
    by_size = isinstance(spec, GroupNorm) and spec.groups is None
    given = spec.channels_per_group if by_size and isinstance(spec, GroupNorm) else spec.groups
    assert given is not None
    if channels % given:
        raise SurgeryError(
            f"{group_field(spec)} must divide the layer's {channels} channels but is {given}",
            f"a divisor of {channels}",
            pointer=f"/norm/{group_field(spec)}",
        )
    return channels // given if by_size else given


def group_field(spec: GroupNorm | EvoNorm) -> str:
    return "channels_per_group" if isinstance(spec, GroupNorm) and not spec.groups else "groups"


class ChannelsLast(nn.Module):
    """Puts a norm that expects channels second where they come last: N, positions, C."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.norm(x.movedim(-1, 1))
        return normalized.movedim(1, -1)


class ChannelsSecond(nn.Module):
    """Puts a norm that expects channels last where they come second: N, C, positions."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.norm(x.movedim(1, -1))
        return normalized.movedim(-1, 1)


@dataclass(frozen=True, slots=True)
class Site:
    """Which place of a model a norm was put in, and the axis of its input that holds the channels."""

    name: str
    channel_axis: int


def mark_site(norm: nn.Module, site: Site) -> None:
    # By `vars`, past `nn.Module.__setattr__`, which mypy sees as taking tensors and modules only.
    vars(norm)["normlab_site"] = site


def find_sites(model: nn.Module) -> dict[str, tuple[nn.Module, Site]]:
    """The norms that were put into a model, by the name of their place."""
    marked = ((module, vars(module).get("normlab_site")) for module in model.modules())
    return {site.name: (module, site) for module, site in marked if isinstance(site, Site)}


def bare_norm(module: nn.Module) -> nn.Module:
    """The layer with gain and bias, out of what only moves axes."""
    return module.norm if isinstance(module, ChannelsLast | ChannelsSecond) else module


class NormThenActivation(nn.Module):
    """Takes the place of layers that norm and activate in one (timm's `…NormAct`)."""

    def __init__(self, norm: nn.Module, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(self.norm(x)))  # type: ignore[no-any-return]


class ActivationThenNorm(nn.Module):
    """Takes the place of an activation that a norm comes after."""

    def __init__(self, act: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.act(x))  # type: ignore[no-any-return]
