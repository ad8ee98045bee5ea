"""Finds where in a model something may be dropped: sites, activations, branches. Changes nothing."""

from collections.abc import Iterator

from torch import Tensor, nn

from trainer.layers import BranchSite, is_stochastic_depth
from trainer.surgery.tracing import copy_to_meta, run_on_meta

Shape = tuple[int, ...]

#: Activations of hidden layers in torch and timm. Sigmoids are gates there; PReLU has a parameter, whose
#: name would change.
_ACTIVATIONS = frozenset(
    {"ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "SiLU", "Swish", "Mish", "HardMish"}
    | {"GELU", "GELUTanh", "QuickGELU", "Hardswish", "HardSwish", "Softplus", "Tanh"}
)


def names_of(model: nn.Module, *kinds: type[nn.Module]) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


def trace(model: nn.Module, shape: Shape, *kinds: type[nn.Module]) -> dict[str, Shape]:
    """What modules of these kinds are given for an example batch, in the order of their first call."""
    twin, seen = copy_to_meta(model), dict[str, Shape]()
    for name in names_of(twin, *kinds):

        def note(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            seen.setdefault(name, tuple(args[0].shape))

        twin.get_submodule(name).register_forward_pre_hook(note)
    run_on_meta(twin, shape)
    return seen


def trace_activations(model: nn.Module, shape: Shape) -> dict[str, Shape]:
    """What a library's activations are given, as in `trace`; of maps those that are larger than a pixel
    and have their channels first, else nothing: a linear layer's output has them last."""
    twin, seen = copy_to_meta(model), dict[str, Shape]()
    linear: list[Tensor] = []
    for name, module in list(twin.named_modules()):

        def note(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            x = args[0]
            fits = x.ndim == 4 and x[0, 0].numel() > 1 and not any(x is one for one in linear)
            seen[name] = tuple(x.shape) if fits and seen.get(name) != () else ()

        if type(module).__name__ in _ACTIVATIONS:
            module.register_forward_pre_hook(note)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(lambda module, args, output: linear.append(output))
    run_on_meta(twin, shape)
    return seen


def find_branches(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Our markers, the libraries' layers, and where timm's blocks would have one: parent and name."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, BranchSite) or is_stochastic_depth(child):
                yield module, name
        if type(module).__module__.startswith("timm."):
            for name in ("drop_path", "drop_path1", "drop_path2"):
                if name in {**vars(module), **module._modules} and _is_idle(getattr(module, name)):
                    yield module, name


def _is_idle(value: object) -> bool:
    return value is None or type(value) is nn.Identity
